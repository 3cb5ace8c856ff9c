import io.matinee.kernel.LiveFold;
import io.matinee.kernel.Policy;

/** Run by test_state.py: fold states of the versions given, read by this kernel, as the operator does: what each says. */
public final class OldState {
    public static void main(String[] args) {
        Policy policy = Policy.parse(args[0]);
        for (int i = 1; i < args.length; i++) {
            byte version = (byte) (Integer.parseInt(args[i]) * 2);  // a zigzag varint
            for (byte[] texts : new byte[][] {null, {2, 's'}}) {
                byte[] numbers = {version, 1, 2, 3};
                say(() -> LiveFold.rested(numbers));
                say(() -> LiveFold.fromBytes(new LiveFold.Bytes(numbers, texts), policy));
            }
        }
    }

    private static void say(Runnable read) {
        try {
            read.run();
            System.out.println("read");
        } catch (RuntimeException error) {
            System.out.println(error.getMessage());
        }
    }
}

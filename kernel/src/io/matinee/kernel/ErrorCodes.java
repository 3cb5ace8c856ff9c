package io.matinee.kernel;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/** Classes of error codes, from schemas/error_codes.csv; what is not in it is technical. */
final class ErrorCodes {
    /** No code, a fault, the service's own decision. */
    static final byte NONE = 0;
    static final byte TECHNICAL = 1;
    static final byte BUSINESS = 2;

    private static final Map<String, Byte> EXACT = new HashMap<>();
    private static final Map<String, Byte> BEGINNINGS = new HashMap<>();

    static {
        try (InputStream in = ErrorCodes.class.getResourceAsStream("error_codes.tsv")) {
            if (in == null) {
                throw new IllegalStateException("error_codes.tsv is not in the jar: build it with python -m kernel.build");
            }
            BufferedReader lines = new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8));
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] word = line.split("\t");
                byte kind = word[1].equals("business") ? BUSINESS : TECHNICAL;
                if (word[0].endsWith("*")) {
                    BEGINNINGS.put(word[0].substring(0, word[0].length() - 1), kind);
                } else {
                    EXACT.put(word[0], kind);
                }
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private ErrorCodes() {}

    static byte of(String code) {
        if (code == null) {
            return NONE;
        }
        Byte exact = EXACT.get(code);
        if (exact != null) {
            return exact;
        }
        for (int length = code.length(); length >= 0; length--) {
            Byte found = BEGINNINGS.get(code.substring(0, length));
            if (found != null) {
                return found;
            }
        }
        return TECHNICAL;
    }
}

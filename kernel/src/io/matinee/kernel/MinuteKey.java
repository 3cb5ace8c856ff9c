package io.matinee.kernel;

/** What a live sum is kept by: the minute and the dimensions of a sum of spans. */
public record MinuteKey(long minuteAt, String cdn, String isp, String device, String country, String app, String title) {

    static MinuteKey of(long at, Event event) {
        String[] d = event.dims;
        return new MinuteKey(Fold.minute(at), d[7], d[3], d[5], d[4], d[6], d[1]);
    }

    /** Names of the dimensions, in the order of schemas.metrics.DIMENSIONS. */
    public static final String[] DIMENSIONS = {"cdn_id", "isp", "device", "country", "app_version", "title_id"};

    public String[] dimensions() {
        return new String[] {cdn, isp, device, country, app, title};
    }
}

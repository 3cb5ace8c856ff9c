package io.matinee.kernel;

import java.util.Objects;

/** What a live sum is kept by: the minute and the dimensions of a sum of spans. */
public record MinuteKey(long minuteAt, String cdn, String isp, String device, String country, String app, String title) {

    /** 2^64 over the golden ratio, odd. */
    private static final long SPREAD = 0x9E3779B97F4A7C15L;

    static MinuteKey of(long at, Event event) {
        String[] d = event.dims;
        return new MinuteKey(Fold.minute(at), d[7], d[3], d[5], d[4], d[6], d[1]);
    }

    /** Names of the dimensions, in the order of schemas.metrics.DIMENSIONS. */
    public static final String[] DIMENSIONS = {"cdn_id", "isp", "device", "country", "app_version", "title_id"};

    /** Written out: a record's own goes through method handles. */
    @Override
    public int hashCode() {
        long hash = minuteAt / Fold.MINUTE_MS;
        hash = hash * SPREAD + Objects.hashCode(cdn);
        hash = hash * SPREAD + Objects.hashCode(isp);
        hash = hash * SPREAD + Objects.hashCode(device);
        hash = hash * SPREAD + Objects.hashCode(country);
        hash = hash * SPREAD + Objects.hashCode(app);
        hash = hash * SPREAD + Objects.hashCode(title);
        return (int) (hash * SPREAD >>> 32);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof MinuteKey k && minuteAt == k.minuteAt && Objects.equals(title, k.title)
                && Objects.equals(isp, k.isp) && Objects.equals(cdn, k.cdn) && Objects.equals(device, k.device)
                && Objects.equals(country, k.country) && Objects.equals(app, k.app);
    }

    public String[] dimensions() {
        return new String[] {cdn, isp, device, country, app, title};
    }
}

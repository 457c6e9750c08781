//! The percentile text format of HdrHistogram (`.hgrm`), as its plotting tools read it. Values are microseconds.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::microseconds;

/// Lines for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// One point of a percentile distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) value_us: f64,
    /// 0 to 1.
    pub(crate) quantile: f64,
    /// Values at or below.
    pub(crate) count: u64,
}

/// The distribution as points, densest near the tail.
pub(crate) fn points(histogram: &Histogram<u64>) -> Vec<Point> {
    let mut count = 0;
    histogram
        .iter_quantiles(TICKS_PER_HALF_DISTANCE)
        .map(|step| {
            count += step.count_since_last_iteration();
            Point {
                value_us: microseconds(step.value_iterated_to().min(histogram.max())),
                quantile: step.quantile_iterated_to(),
                count,
            }
        })
        .collect()
}

/// Writes the distribution of a histogram of nanoseconds.
pub(crate) fn to_text(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for point in points(histogram) {
        let line = if point.quantile < 1.0 {
            let inverse = 1.0 / (1.0 - point.quantile);
            format!(
                "{:12.3} {:2.12} {:10} {inverse:14.2}",
                point.value_us, point.quantile, point.count
            )
        } else {
            format!(
                "{:12.3} {:2.12} {:10}",
                point.value_us, point.quantile, point.count
            )
        };
        text.push_str(&line);
        text.push('\n');
    }
    let (mean, deviation) = (histogram.mean() / 1e3, histogram.stdev() / 1e3);
    writeln!(
        text,
        "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]"
    )
    .expect(GROWS);
    writeln!(
        text,
        "#[Max     = {:12.3}, Total count    = {:12}]",
        microseconds(histogram.max()),
        histogram.len()
    )
    .expect(GROWS);
    let sub_buckets = histogram.distinct_values() / (usize::from(histogram.buckets()) + 1) * 2;
    writeln!(
        text,
        "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]",
        histogram.buckets()
    )
    .expect(GROWS);
    text
}

const GROWS: &str = "writing to a String cannot fail because it grows";

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the format back as HdrHistogram's tools do: skip the heading and comments, split at white space.
    fn parse(text: &str) -> Vec<Point> {
        text.lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let quantile: f64 = fields[1].parse().unwrap();
                assert_eq!(fields.len(), if quantile < 1.0 { 4 } else { 3 }, "{line}");
                if let Some(inverse) = fields.get(3) {
                    let inverse: f64 = inverse.parse().unwrap();
                    assert!((inverse * (1.0 - quantile) - 1.0).abs() < 0.01, "{line}");
                }
                Point {
                    value_us: fields[0].parse().unwrap(),
                    quantile,
                    count: fields[2].parse().unwrap(),
                }
            })
            .collect()
    }

    /// The text parses back to the points of the histogram, which rise to its maximum and its count.
    #[test]
    fn the_text_parses_back() {
        let mut histogram = crate::load::empty_histogram();
        (1..=50_000_u64).for_each(|index| histogram.record(index * index).unwrap());
        let parsed = parse(&to_text(&histogram));
        let expected = points(&histogram);
        assert_eq!(parsed.len(), expected.len());
        for (parsed, expected) in parsed.iter().zip(&expected) {
            assert_eq!(parsed.count, expected.count);
            assert!(
                (parsed.value_us - expected.value_us).abs() < 0.001
                    && (parsed.quantile - expected.quantile).abs() < 1e-9
            );
        }
        assert!(parsed.is_sorted_by(
            |left, right| left.value_us <= right.value_us && left.quantile <= right.quantile
        ));
        let last = parsed.last().unwrap();
        assert_eq!((last.quantile, last.count), (1.0, 50_000));
        assert!((last.value_us - 2_500_000.0).abs() < 2_500.0);
    }

    /// An empty histogram gives a text without points that no tool chokes on.
    #[test]
    fn an_empty_histogram_has_a_text() {
        let text = to_text(&crate::load::empty_histogram());
        assert!(text.contains("Total count    =            0"), "{text}");
        assert!(parse(&text).len() <= 1);
    }
}

//! A picture of percentile distributions: percentiles on an axis that stretches the tail, latency on a logarithmic one.

use std::fmt::Write as _;

use super::hgrm::Point;

/// One line of the picture.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 540.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 44.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 64.0;

/// Colours that stay apart for colour-blind readers; the dashes tell the lines apart without any colour.
const STROKES: [(&str, &str); 6] = [
    ("#0072b2", ""),
    ("#d55e00", "8 4"),
    ("#009e73", "2 3"),
    ("#cc79a7", "10 3 2 3"),
    ("#8a6d00", "5 5"),
    ("#333333", "1 4"),
];

const GROWS: &str = "writing to a String cannot fail because it grows";

/// Draws `series` under `title`. Empty series appear in the legend only.
pub(crate) fn draw(title: &str, series: &[Series]) -> String {
    let all = || {
        series
            .iter()
            .flat_map(|series| &series.points)
            .filter(|point| point.value_us > 0.0)
    };
    let lowest = all()
        .map(|point| point.value_us)
        .fold(f64::INFINITY, f64::min);
    let highest = all().map(|point| point.value_us).fold(0.0, f64::max);
    let largest_count = all().map(|point| point.count).max().unwrap_or(1);
    let axes = Axes::new(lowest, highest, largest_count);

    let mut svg = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"17\">{title}</text>\n",
        title = escape(title),
    );
    draw_grid(&mut svg, &axes);
    draw_legend_background(&mut svg, series);
    for (index, series) in series.iter().enumerate() {
        draw_series(&mut svg, &axes, index, series);
    }
    svg.push_str("</svg>\n");
    svg
}

/// From percentiles and latencies to places in the picture.
struct Axes {
    /// Powers of ten at the bottom and the top.
    decades: (i32, i32),
    /// Nines at the right edge: 3 is 99.9 %.
    nines_max: f64,
}

impl Axes {
    fn new(lowest_us: f64, highest_us: f64, largest_count: u64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "logarithms of latencies are small"
        )]
        let decades = if lowest_us <= highest_us {
            (
                lowest_us.log10().floor() as i32,
                highest_us.log10().ceil() as i32,
            )
        } else {
            (0, 1)
        };
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let nines = (largest_count as f64).log10().ceil();
        Self {
            decades: (decades.0, decades.1.max(decades.0 + 1)),
            nines_max: nines.clamp(2.0, 6.0),
        }
    }

    fn x(&self, quantile: f64) -> f64 {
        let nines = -(1.0 - quantile).max(1e-12).log10();
        LEFT + nines.clamp(0.0, self.nines_max) / self.nines_max * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value_us: f64) -> f64 {
        let (bottom, top) = (f64::from(self.decades.0), f64::from(self.decades.1));
        let share = ((value_us.log10() - bottom) / (top - bottom)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

fn draw_grid(svg: &mut String, axes: &Axes) {
    let (floor, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for decade in axes.decades.0..=axes.decades.1 {
        for step in 1..10 {
            let value_us = f64::from(step) * 10_f64.powi(decade);
            if decade == axes.decades.1 && step > 1 {
                break;
            }
            let y = axes.y(value_us);
            let shade = if step == 1 { "#b5b5b5" } else { "#ececec" };
            writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"{shade}\"/>").expect(GROWS);
            if step == 1 {
                let (x, y, label) = (LEFT - 8.0, y + 4.5, duration_label(value_us));
                writeln!(
                    svg,
                    "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{label}</text>"
                )
                .expect(GROWS);
            }
        }
    }
    let marks = [
        (0.0, "0 %"),
        (0.5, "50 %"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
        (0.9999, "99.99 %"),
        (0.99999, "99.999 %"),
        (0.999_999, "99.9999 %"),
    ];
    for (quantile, label) in marks {
        if -(1.0_f64 - quantile).log10() > axes.nines_max + 0.01 {
            break;
        }
        let x = axes.x(quantile);
        writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{floor}\" stroke=\"#b5b5b5\"/>"
        )
        .expect(GROWS);
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            floor + 20.0
        )
        .expect(GROWS);
    }
    let middle = LEFT + (right - LEFT) / 2.0;
    writeln!(
        svg,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">percentile of requests</text>",
        floor + 46.0
    )
    .expect(GROWS);
}

/// Hides the grid behind the legend, wide enough for its longest name.
fn draw_legend_background(svg: &mut String, series: &[Series]) {
    let longest = series
        .iter()
        .map(|series| series.name.chars().count())
        .max()
        .unwrap_or(0);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a handful of series with short names"
    )]
    let (width, height) = (
        78.0 + 8.0 * longest as f64,
        12.0 + 20.0 * series.len() as f64,
    );
    let (x, y) = (LEFT + 6.0, TOP + 5.0);
    writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>"
    )
    .expect(GROWS);
}

fn draw_series(svg: &mut String, axes: &Axes, index: usize, series: &Series) {
    let (colour, dashes) = STROKES[index % STROKES.len()];
    let mut path = String::new();
    for point in series.points.iter().filter(|point| point.value_us > 0.0) {
        write!(
            path,
            "{:.1},{:.1} ",
            axes.x(point.quantile),
            axes.y(point.value_us)
        )
        .expect(GROWS);
    }
    let stroke = format!(
        "fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.2\" stroke-dasharray=\"{dashes}\""
    );
    let stroke = stroke.replace(" stroke-dasharray=\"\"", "");
    if !path.is_empty() {
        writeln!(svg, "<polyline points=\"{}\" {stroke}/>", path.trim_end()).expect(GROWS);
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful of series")]
    let y = TOP + 20.0 + 20.0 * index as f64;
    let (from, to, text) = (LEFT + 14.0, LEFT + 54.0, LEFT + 62.0);
    writeln!(
        svg,
        "<line x1=\"{from}\" y1=\"{y}\" x2=\"{to}\" y2=\"{y}\" {stroke}/>"
    )
    .expect(GROWS);
    writeln!(
        svg,
        "<text x=\"{text}\" y=\"{}\">{}</text>",
        y + 4.5,
        escape(&series.name)
    )
    .expect(GROWS);
}

fn duration_label(value_us: f64) -> String {
    match value_us {
        value if value >= 1e6 => format!("{} s", value / 1e6),
        value if value >= 1e3 => format!("{} ms", value / 1e3),
        value if value >= 0.999 => format!("{value} µs"),
        value => format!("{:.0} ns", value * 1e3),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that every element is closed in order, attributes are quoted and no bare `&` or `<` stands in text.
    fn assert_well_formed(svg: &str) {
        let mut open: Vec<String> = Vec::new();
        let mut rest = svg;
        while let Some(start) = rest.find('<') {
            let text = &rest[..start];
            for (at, _) in text.match_indices('&') {
                let known = ["&amp;", "&lt;", "&gt;", "&quot;"]
                    .iter()
                    .any(|entity| text[at..].starts_with(entity));
                assert!(known, "bare & in {text:?}");
            }
            let end = start + rest[start..].find('>').expect("every tag ends");
            let tag = &rest[start + 1..end];
            assert!(!tag.contains('<'), "bare < in {tag:?}");
            assert_eq!(
                tag.matches('"').count() % 2,
                0,
                "unquoted attribute in {tag:?}"
            );
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name));
            } else if !tag.starts_with('?') && !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().unwrap().to_owned());
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "not closed: {open:?}");
        assert!(
            !svg.contains("NaN") && !svg.contains("inf"),
            "a number went wrong"
        );
    }

    fn series(name: &str, scale: f64) -> Series {
        let points = [
            (0.0, 1.0, 1),
            (0.5, 1.5, 500),
            (0.99, 9.0, 990),
            (1.0, 120.0, 1_000),
        ];
        let points = points.map(|(quantile, value, count)| Point {
            value_us: value * scale,
            quantile,
            count,
        });
        Series {
            name: name.to_owned(),
            points: points.to_vec(),
        }
    }

    /// The picture is well-formed with one, many and no series, with empty ones, and with names that need escaping.
    #[test]
    fn pictures_are_well_formed() {
        let nothing = Series {
            name: "<no & \"data\">".to_owned(),
            points: Vec::new(),
        };
        for all in [
            vec![],
            vec![series("hop", 100.0)],
            vec![
                series("a", 1.0),
                nothing,
                series("b", 0.01),
                series("c", 1e5),
            ],
        ] {
            let svg = draw("p < q & \"r\"", &all);
            assert_well_formed(&svg);
            assert_eq!(
                svg.matches("<polyline").count(),
                all.iter()
                    .filter(|series| !series.points.is_empty())
                    .count()
            );
        }
    }

    /// Every point lies inside the frame, and a slower series is drawn above a faster one.
    #[test]
    fn points_lie_inside_the_frame() {
        let axes = Axes::new(1.0, 120_000.0, 1_000);
        for quantile in [0.0, 0.5, 0.999, 1.0] {
            assert!((LEFT..=WIDTH - RIGHT).contains(&axes.x(quantile)));
        }
        assert!(axes.y(100.0) > axes.y(1_000.0) && axes.y(120_000.0) >= TOP);
        assert_eq!((axes.decades, axes.nines_max), ((0, 6), 3.0));
    }
}

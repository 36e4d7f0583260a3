//! Charts as inline SVG: no script, no network; colours are the page's own, light or dark.

use std::fmt::Write;

use crate::result::summary::milliseconds;

/// The drawing, without its margins, in its own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 96.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 14.0;
const RIGHT: f64 = 46.0;
/// A value that is drawn on a logarithm must not be 0: microseconds are the smallest told.
const MS_MIN: f64 = 0.001;

/// One line of a chart.
pub(super) struct Line<'a> {
    pub name: &'a str,
    /// A class of the page: `a`, `b`, `c`, `d`.
    pub class: &'a str,
    /// Where it is broken there is no value.
    pub points: Vec<(f64, Option<f64>)>,
}

/// How the upright axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0, numbers.
    Linear,
    /// Milliseconds on a logarithm.
    LogMs,
}

/// A chart: its title, its lines, marks on the level axis with a word each.
pub(super) struct Chart<'a> {
    pub title: &'a str,
    pub lines: Vec<Line<'a>>,
    pub scale: Scale,
    /// The ends of the level axis.
    pub across: (f64, f64),
    /// Where the level axis has a number, and which.
    pub ticks: Vec<(f64, String)>,
    /// Upright lines with a word: what happened then.
    pub marks: Vec<(f64, String)>,
}

impl Chart<'_> {
    /// The figure, with its legend below.
    pub fn draw(&self) -> String {
        let mut svg = String::new();
        // Writing to a String does not fail.
        let _ = self.lines_of(&mut svg);
        svg
    }

    fn lines_of(&self, svg: &mut String) -> std::fmt::Result {
        let (low, high) = self.ends();
        let (width, height) = (WIDTH + LEFT + RIGHT, HEIGHT + TOP + BOTTOM);
        let title = self.title;
        writeln!(svg, "<figure><figcaption>{title}</figcaption>")?;
        writeln!(
            svg,
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">"
        )?;
        for (value, text) in self.upright_ticks(low, high) {
            let y = self.y(value, low, high);
            writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}h{WIDTH}\"/>")?;
            let x = LEFT - 6.0;
            writeln!(svg, "<text class=\"end\" x=\"{x}\" y=\"{:.1}\">{text}</text>", y + 4.0)?;
        }
        let base = TOP + HEIGHT;
        for (at, text) in &self.ticks {
            let x = self.x(*at);
            writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {base}v4\"/>")?;
            writeln!(svg, "<text class=\"mid\" x=\"{x:.1}\" y=\"{}\">{text}</text>", base + 26.0)?;
        }
        for (at, text) in &self.marks {
            let x = self.x(*at);
            writeln!(
                svg,
                "<path class=\"mark\" d=\"M{x:.1} {TOP}v{HEIGHT}\"><title>{text}</title></path>"
            )?;
        }
        for line in &self.lines {
            self.line(svg, line, (low, high))?;
        }
        writeln!(svg, "</svg><p class=\"legend\">")?;
        for line in &self.lines {
            writeln!(svg, "<span class=\"{}\">{}</span>", line.class, line.name)?;
        }
        for (at, text) in &self.marks {
            writeln!(svg, "<span class=\"m\">{at:.0} s: {text}</span>")?;
        }
        writeln!(svg, "</p></figure>")
    }

    fn line(&self, svg: &mut String, line: &Line<'_>, (low, high): (f64, f64)) -> std::fmt::Result {
        let mut path = String::new();
        let mut pen_is_down = false;
        for (at, value) in &line.points {
            let Some(value) = value else {
                pen_is_down = false;
                continue;
            };
            let (x, y) = (self.x(*at), self.y(*value, low, high));
            if pen_is_down {
                write!(path, "L{x:.1} {y:.1}")?;
            } else {
                // A point that stands alone is seen too.
                write!(path, "M{x:.1} {y:.1}h.1")?;
            }
            pen_is_down = true;
        }
        writeln!(svg, "<path class=\"line {}\" d=\"{path}\"/>", line.class)
    }

    fn x(&self, at: f64) -> f64 {
        let (from, to) = self.across;
        LEFT + WIDTH * ((at - from) / (to - from).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64, low: f64, high: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - low) / (high - low),
            Scale::LogMs => (value.max(MS_MIN) / low).ln() / (high / low).ln(),
        };
        TOP + HEIGHT * (1.0 - share.clamp(0.0, 1.0))
    }

    /// The ends of the upright axis: round numbers around all values.
    fn ends(&self) -> (f64, f64) {
        let values =
            self.lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
        let values: Vec<f64> = values.collect();
        let top = values.iter().copied().fold(0.0, f64::max);
        match self.scale {
            Scale::Linear => {
                let step = step(top.max(1.0) / 4.0);
                (0.0, (top.max(1.0) / step).ceil() * step)
            }
            Scale::LogMs => {
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                let least = if least.is_finite() { least.max(MS_MIN) } else { 1.0 };
                let low = 10_f64.powf(least.log10().floor());
                (low, 10_f64.powf(top.max(low * 2.0).log10().ceil()).max(low * 10.0))
            }
        }
    }

    fn upright_ticks(&self, low: f64, high: f64) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = step((high - low) / 4.0);
                let count = ((high - low) / step).round() as usize;
                (0..=count).map(|at| (at as f64 * step, number(at as f64 * step))).collect()
            }
            Scale::LogMs => {
                let (first, last) = (low.log10().round() as i32, high.log10().round() as i32);
                let values = (first..=last).map(|power| 10_f64.powi(power));
                values.map(|value| (value, tick(value))).collect()
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `wanted`.
pub(super) fn step(wanted: f64) -> f64 {
    let power = 10_f64.powf(wanted.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let found = steps.iter().find(|step| **step * power >= wanted * 0.999_999);
    found.copied().unwrap_or(10.0) * power
}

fn number(value: f64) -> String {
    if value >= 1_000.0 { format!("{}k", value / 1e3) } else { format!("{value}") }
}

/// A power of ten of milliseconds.
fn tick(value: f64) -> String {
    milliseconds(value).replace(".00", "").replace(".0", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!([step(0.3), step(1.0), step(130.0), step(2_000.0)], [0.5, 1.0, 200.0, 2_000.0]);
        assert_eq!(
            [tick(0.1), tick(1.0), tick(100.0), tick(10_000.0)],
            ["100 us", "1 ms", "100 ms", "10 s"]
        );
    }

    #[test]
    fn a_line_is_broken_where_it_has_no_value_and_nothing_leaves_the_drawing() {
        let points = vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(1e9)), (3.0, Some(0.0))];
        let line = Line { name: "x", class: "a", points };
        let chart = Chart {
            title: "t",
            lines: vec![line],
            scale: Scale::LogMs,
            across: (0.0, 3.0),
            ticks: vec![(0.0, "0".into())],
            marks: vec![(1.5, "a fault".into())],
        };
        let svg = chart.draw();
        assert_eq!(svg.matches("h.1").count(), 2, "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}

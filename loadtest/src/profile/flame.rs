//! A flame graph as one SVG that needs nothing else: no script, no network.

use std::fmt::Write;

use super::{component::Component, stacks::Frame};

/// The drawing, in its own units.
const WIDTH: f64 = 1_200.0;
const ROW: f64 = 16.0;
/// Above the frames: the title and the colours.
const HEAD: f64 = 60.0;
/// What a letter of the frames needs.
const LETTER: f64 = 6.3;
/// What is narrower than this is left out from the beginning.
const NARROWEST: f64 = 0.6;
/// Frames are left out until the file is no longer than this, in bytes.
const BYTES_MAX: usize = 290_000;
/// So often what is left out may be doubled; then nothing but the threads is left.
const TRIES: u32 = 12;

/// The picture of `all`. `us` is what one sample stands for, in microseconds a payment.
pub(super) fn draw(all: &Frame, title: &str, us: Option<f64>) -> String {
    let mut narrowest = NARROWEST;
    let mut svg = String::new();
    for _ in 0..TRIES {
        svg = Flame { all: all.count.max(1), us, narrowest }.draw(all, title);
        if svg.len() <= BYTES_MAX {
            break;
        }
        narrowest *= 2.0;
    }
    svg
}

struct Flame {
    /// All samples.
    all: u64,
    us: Option<f64>,
    narrowest: f64,
}

impl Flame {
    fn draw(&self, all: &Frame, title: &str) -> String {
        let height = HEAD + ROW * self.depth(all) as f64 + 8.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"monospace\" font-size=\"10.5\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"8\" y=\"20\" font-size=\"14\">{}</text>\n",
            escape(title)
        );
        let mut x = 8.0;
        for component in Component::ALL {
            let (name, colour) = (component.name(), component.colour());
            // Writing to a String does not fail.
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"32\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
                 <text x=\"{}\" y=\"42\">{name}</text>",
                x + 16.0
            );
            x += 34.0 + LETTER * name.len() as f64;
        }
        let _ = self.frame(&mut svg, all, (0.0, 0));
        svg + "</svg>\n"
    }

    fn width(&self, count: u64) -> f64 {
        WIDTH * count as f64 / self.all as f64
    }

    fn depth(&self, frame: &Frame) -> usize {
        let drawn =
            frame.children.values().filter(|child| self.width(child.count) >= self.narrowest);
        1 + drawn.map(|child| self.depth(child)).max().unwrap_or(0)
    }

    /// A frame, and what it called below it.
    fn frame(&self, svg: &mut String, frame: &Frame, (x, row): (f64, usize)) -> std::fmt::Result {
        let (width, y) = (self.width(frame.count), HEAD + ROW * row as f64);
        let share = frame.count as f64 / self.all as f64 * 100.0;
        let each = self.us.map(|us| format!(", {:.2} us a payment", us * frame.count as f64));
        writeln!(
            svg,
            "<g><title>{} ({share:.2} %{})</title>\
             <rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"15\" fill=\"{}\"/>{}</g>",
            escape(&frame.name),
            each.unwrap_or_default(),
            frame.component.colour(),
            label(&frame.name, (x, y, width)),
        )?;
        let mut at = x;
        for child in frame.children.values() {
            let child_width = self.width(child.count);
            if child_width >= self.narrowest {
                self.frame(svg, child, (at, row + 1))?;
                at += child_width;
            }
        }
        Ok(())
    }
}

/// As much of a name as fits; nothing where not even a few letters do.
fn label(name: &str, (x, y, width): (f64, f64, f64)) -> String {
    let fits = ((width - 4.0) / LETTER) as usize;
    if fits < 3 {
        return String::new();
    }
    // The function says more than the modules around it.
    let short = name.rsplit_once("::").map_or(name, |(_, last)| last);
    let text = if name.chars().count() <= fits {
        name.to_owned()
    } else if short.chars().count() <= fits && !short.contains(['}', '>']) {
        short.to_owned()
    } else {
        name.chars().take(fits - 1).chain(['~']).collect()
    };
    format!("<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 2.0, y + 11.5, escape(&text))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str, count: u64, children: Vec<Frame>) -> Frame {
        let children = children.into_iter().map(|child| (child.name.clone(), child)).collect();
        Frame { name: name.into(), component: Component::Ours, count, children }
    }

    #[test]
    fn frames_lie_under_their_callers_and_names_are_cut_to_fit() {
        let long = "a::very<long>_name".repeat(30);
        let all = frame("all", 100, vec![frame(&long, 75, vec![]), frame("b & c", 25, vec![])]);
        let svg = draw(&all, "a <title>", Some(0.5));
        assert!(svg.contains("a &lt;title&gt;") && svg.contains("37.50 us a payment"), "{svg}");
        assert!(svg.contains("width=\"900.0\"") && svg.contains("<text x=\"902.0\""), "{svg}");
        assert!(svg.contains("~</text>") && svg.contains(">b &amp; c</text>"), "{svg}");
        assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
    }

    #[test]
    fn small_frames_are_left_out_until_the_file_is_small() {
        let leaves = |from: u64| -> Vec<Frame> {
            (from..from + 1_500).map(|at| frame(&format!("{at:->90}"), 1, vec![])).collect()
        };
        let all = frame("all", 2_000, vec![frame("x", 1_500, leaves(0)), frame("y", 500, vec![])]);
        let svg = draw(&all, "t", None);
        assert!(svg.len() <= BYTES_MAX, "{}", svg.len());
        assert!(svg.contains("<title>x (75.00 %)") && !svg.contains("-7</title>"));
    }
}

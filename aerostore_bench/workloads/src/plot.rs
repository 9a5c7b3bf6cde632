//! Plots as SVG: bars for the engines of each question, and lines for what changes with a number. Both axes of values are logarithmic.

use crate::figures::Question;
use std::fmt::Write;

/// Colours that people tell apart, with whatever eyes (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#999999"];
const BOUND: &str = "#bbbbbb";
const FONT: &str = "font-family=\"sans-serif\" font-size=\"12\"";

fn document(width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn text(into: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let content = escaped(content);
    let _ =
        writeln!(into, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {FONT}>{content}</text>");
}

/// A panel of bars for each question, two side by side.
pub fn bars(questions: &[Question]) -> String {
    const WIDTH: f64 = 560.0;
    const BAR: f64 = 16.0;
    const LABEL: f64 = 150.0;
    const LONGEST: f64 = WIDTH - LABEL - 90.0;
    let mut body = String::new();
    let mut heights = [0.0_f64; 2];
    for question in questions {
        let column = usize::from(heights[1] < heights[0]);
        let (x, mut y) = (f64::from(u8::from(column == 1)) * WIDTH, heights[column] + 20.0);
        let title = format!("{} {}, {}", question.id, question.title, question.unit);
        text(&mut body, x + 8.0, y, "start", &title);
        let values = || question.figures.iter().map(|figure| figure.value.max(1e-9));
        let least = values().fold(f64::INFINITY, f64::min).log10() - 0.5;
        let span = (values().fold(0.0, f64::max).log10() - least).max(0.1);
        for figure in &question.figures {
            y += BAR + 3.0;
            let length = (figure.value.max(1e-9).log10() - least) / span * LONGEST;
            let colour = match figure.name.as_str() {
                _ if figure.is_bound => BOUND,
                name if name.starts_with("aerostore") => COLOURS[0],
                _ => COLOURS[1],
            };
            let top = y - BAR + 4.0;
            text(&mut body, x + LABEL - 6.0, y, "end", &figure.name);
            let _ = writeln!(
                body,
                "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{BAR:.0}\" fill=\"{colour}\"/>",
                x + LABEL
            );
            text(&mut body, x + LABEL + length + 5.0, y, "start", &shortened(figure.value));
        }
        heights[column] = y + 16.0;
    }
    document(WIDTH * 2.0, heights[0].max(heights[1]) + 4.0, &body)
}

fn shortened(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{:.2} M", value / 1e6),
        _ if value >= 1e4 => format!("{:.0} k", value / 1e3),
        _ if value >= 1e3 => format!("{:.1} k", value / 1e3),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

/// A line of points.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A panel of lines.
pub struct Panel {
    pub title: String,
    pub x_title: String,
    pub y_title: String,
    pub lines: Vec<Line>,
}

/// Panels of lines, two side by side.
pub fn lines(panels: &[Panel]) -> String {
    const WIDTH: f64 = 460.0;
    const HEIGHT: f64 = 320.0;
    let mut body = String::new();
    let mut rows = 0.0;
    for (at, panel) in panels.iter().enumerate() {
        let (left, top) = (f64::from(u8::from(at % 2 == 1)) * WIDTH, rows * HEIGHT);
        rows += f64::from(u8::from(at % 2 == 1));
        let points = || panel.lines.iter().flat_map(|line| &line.points);
        let range = |of: fn(&(f64, f64)) -> f64| {
            let least = points().map(of).fold(f64::INFINITY, f64::min).log10().floor();
            let most = points().map(of).fold(0.0, f64::max).log10().ceil();
            (least, most.max(least + 1.0))
        };
        let (x_range, y_range) = (range(|point| point.0), range(|point| point.1));
        let x_of = |x: f64| left + 60.0 + (x.log10() - x_range.0) / (x_range.1 - x_range.0) * (WIDTH - 160.0);
        let y_of = |y: f64| {
            top + HEIGHT - 50.0 - (y.log10() - y_range.0) / (y_range.1 - y_range.0) * (HEIGHT - 90.0)
        };
        text(&mut body, left + 60.0, top + 20.0, "start", &format!("{}: {}", panel.title, panel.y_title));
        text(&mut body, left + WIDTH / 2.0 - 20.0, top + HEIGHT - 12.0, "middle", &panel.x_title);
        let mut rule = |x: f64, y: f64, to_x: f64, to_y: f64| {
            let _ = writeln!(
                body,
                "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{to_x:.1}\" y2=\"{to_y:.1}\" stroke=\"#dddddd\"/>"
            );
        };
        let decades = |range: (f64, f64)| {
            std::iter::successors(Some(range.0), |decade| Some(decade + 1.0))
                .take_while(move |decade| *decade <= range.1)
                .map(|decade| 10_f64.powf(decade))
        };
        for x in decades(x_range) {
            rule(x_of(x), top + 40.0, x_of(x), top + HEIGHT - 50.0);
        }
        for y in decades(y_range) {
            rule(left + 60.0, y_of(y), left + WIDTH - 100.0, y_of(y));
        }
        decades(x_range).for_each(|x| text(&mut body, x_of(x), top + HEIGHT - 34.0, "middle", &shortened(x)));
        decades(y_range).for_each(|y| text(&mut body, left + 54.0, y_of(y) + 4.0, "end", &shortened(y)));
        for (line, colour) in panel.lines.iter().zip(COLOURS.iter().cycle()) {
            let path: Vec<String> =
                line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", x_of(*x), y_of(*y))).collect();
            let _ = writeln!(
                body,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            if let Some((x, y)) = line.points.last() {
                text(&mut body, x_of(*x) + 6.0, y_of(*y) + 4.0, "start", &line.name);
            }
        }
    }
    let height = if panels.len() % 2 == 1 { rows + 1.0 } else { rows } * HEIGHT;
    document(WIDTH * 2.0, height, &body)
}

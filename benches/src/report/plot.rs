//! Plots as inline SVG, on a scale of powers of ten. Colours are left to the style sheet: a subject has the class of its
//! colour, and that of its role.

use std::fmt::{self, Display, Write, from_fn};

use super::html::text;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
/// Where the lines are: labels of the scale to the left, names to the right.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 490.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 300.0;
/// The least distance of two names.
const NAME: f64 = 15.0;
/// How many letters of a name have room beside a line.
const NAME_LETTERS: usize = 30;

/// Lines over a few places, such as numbers of clients.
pub(super) struct Plot {
    pub(super) title: String,
    /// What the places are.
    pub(super) across: &'static str,
    pub(super) places: Vec<String>,
    pub(super) lines: Vec<Line>,
    /// How a value is written.
    pub(super) value: fn(f64) -> String,
}

/// The values of one subject, one for each place where there is one.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) class: String,
    pub(super) values: Vec<Option<f64>>,
}

/// A scale of powers of ten between two values.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    /// One that holds these values, with a little room.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (least, most) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        (most > 0.0).then(|| Self { least: least.log10() - 0.08, most: most.log10() + 0.08 })
    }

    fn part(&self, value: f64) -> f64 {
        ((value.log10() - self.least) / (self.most - self.least)).clamp(0.0, 1.0)
    }

    /// Round values within it: powers of ten, and where these are few, 2 and 5 times them.
    fn marks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.most - self.least > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        #[expect(clippy::cast_possible_truncation, reason = "an exponent of ten is small")]
        let exponents = self.least.floor() as i32..=self.most.ceil() as i32;
        let values = exponents.flat_map(|exponent| steps.iter().map(move |step| step * 10_f64.powi(exponent)));
        values.filter(|value| (self.least..=self.most).contains(&value.log10())).collect()
    }
}

impl Plot {
    /// Whether there is a line to show.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().flat_map(|line| &line.values).flatten().next().is_none()
    }

    fn place(&self, index: usize) -> f64 {
        let last = self.places.len().saturating_sub(1).max(1);
        #[expect(clippy::cast_precision_loss, reason = "there are few places")]
        let part = index as f64 / last as f64;
        LEFT + 20.0 + part * (RIGHT - LEFT - 40.0)
    }
}

impl Display for Plot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(scale) = Scale::of(self.lines.iter().flat_map(|line| &line.values).flatten().copied()) else {
            return Ok(());
        };
        let height = |value| BOTTOM - scale.part(value) * (BOTTOM - TOP);
        begin(f, HEIGHT, &self.title)?;
        for mark in scale.marks() {
            let y = height(mark);
            writeln!(f, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>")?;
            writeln!(
                f,
                "<text class=\"scale\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                text(&(self.value)(mark))
            )?;
        }
        for (index, place) in self.places.iter().enumerate() {
            let x = self.place(index);
            writeln!(
                f,
                "<text class=\"scale\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                BOTTOM + 18.0,
                text(place)
            )?;
        }
        writeln!(
            f,
            "<text class=\"scale\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, RIGHT),
            BOTTOM + 36.0,
            text(self.across)
        )?;
        let mut names = Vec::new();
        for line in &self.lines {
            let points = line.values.iter().enumerate().filter_map(|(index, value)| Some((index, (*value)?)));
            let points: Vec<(f64, f64, String)> = points
                .map(|(index, value)| {
                    let told = format!("{}, {}: {}", line.name, self.places[index], (self.value)(value));
                    (self.place(index), height(value), told)
                })
                .collect();
            let Some((x, y, _)) = points.last() else { continue };
            names.push((*y, *x, line));
            series(f, &line.class, &points)?;
        }
        names_beside(f, names)?;
        f.write_str("</svg>")
    }
}

fn begin(f: &mut fmt::Formatter<'_>, height: f64, title: &str) -> fmt::Result {
    writeln!(f, "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><title>{}</title>", text(title))
}

fn series(f: &mut fmt::Formatter<'_>, class: &str, points: &[(f64, f64, String)]) -> fmt::Result {
    let mut path = String::new();
    for (index, (x, y, _)) in points.iter().enumerate() {
        write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' })?;
    }
    writeln!(f, "<g class=\"series {class}\"><path d=\"{path}\"/>")?;
    for (x, y, told) in points {
        writeln!(f, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{}</title></circle>", text(told))?;
    }
    writeln!(f, "</g>")
}

/// The names of the lines to the right of their ends, each as near to it as the others allow.
fn names_beside(f: &mut fmt::Formatter<'_>, mut names: Vec<(f64, f64, &Line)>) -> fmt::Result {
    names.sort_by(|one, other| one.0.total_cmp(&other.0));
    #[expect(clippy::cast_precision_loss, reason = "there are few lines")]
    let below = |index: usize| (names.len() - 1 - index) as f64 * NAME;
    let mut lowest = f64::NEG_INFINITY;
    for (index, (end, x, line)) in names.iter().enumerate() {
        let y = end.min(BOTTOM - below(index)).max(lowest + NAME).max(TOP);
        lowest = y;
        let Line { name, class, .. } = line;
        writeln!(
            f,
            "<g class=\"name {class}\"><path d=\"M{:.1} {end:.1}L{} {y:.1}\"/><text x=\"{}\" y=\"{:.1}\">{}{}</text></g>",
            x + 6.0,
            RIGHT + 14.0,
            RIGHT + 18.0,
            y + 4.0,
            whole(name),
            text(&elided(name, NAME_LETTERS)),
        )?;
    }
    Ok(())
}

/// What is shown of a name that is longer than there is room: its beginning and its end.
fn elided(name: &str, room: usize) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= room {
        return name.to_owned();
    }
    let (begin, end) = (room.div_ceil(2) - 1, room / 2);
    letters[..begin].iter().chain(['…'].iter()).chain(&letters[letters.len() - end..]).collect()
}

/// The name as a whole, for who points at it.
fn whole(name: &str) -> impl Display {
    from_fn(move |f| write!(f, "<title>{}</title>", text(name)))
}

/// Bars to both sides of 1: how many times as much something is.
pub(super) struct Bars {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

/// One of them.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) class: String,
    pub(super) ratio: f64,
}

const BAR: f64 = 22.0;
const BARS_LEFT: f64 = 410.0;
/// How many letters of a name have room to the left of the bars.
const BAR_LETTERS: usize = 56;
const BARS_RIGHT: f64 = 690.0;

impl Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratios = self.bars.iter().map(|bar| bar.ratio);
        let Some(scale) = Scale::of(ratios.chain([0.5, 2.0])) else { return Ok(()) };
        let x = |ratio| BARS_LEFT + scale.part(ratio) * (BARS_RIGHT - BARS_LEFT);
        #[expect(clippy::cast_precision_loss, reason = "there are few bars")]
        let bottom = TOP + self.bars.len() as f64 * BAR;
        begin(f, bottom + 26.0, &self.title)?;
        for mark in scale.marks() {
            let class = if (mark - 1.0).abs() < 1e-9 { "grid one" } else { "grid" };
            writeln!(f, "<path class=\"{class}\" d=\"M{:.1} {TOP}V{bottom}\"/>", x(mark))?;
            writeln!(
                f,
                "<text class=\"scale\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{mark} ×</text>",
                x(mark),
                bottom + 18.0
            )?;
        }
        let one = x(1.0);
        let mut top = TOP;
        for Bar { name, class, ratio } in &self.bars {
            let end = x(*ratio);
            let (from, width, middle) = (one.min(end), (end - one).abs().max(1.0), top + BAR / 2.0 + 4.0);
            writeln!(
                f,
                "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}{}</text>",
                BARS_LEFT - 12.0,
                whole(name),
                text(&elided(name, BAR_LETTERS))
            )?;
            writeln!(
                f,
                "<rect class=\"bar {class}\" x=\"{from:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\"/>",
                top + 4.0,
                BAR - 8.0
            )?;
            writeln!(
                f,
                "<text class=\"figure\" x=\"{:.1}\" y=\"{middle}\">{} ×</text>",
                one.max(end) + 6.0,
                super::tables::digits(*ratio)
            )?;
            top += BAR;
        }
        f.write_str("</svg>")
    }
}

/// Each of several, one after the other.
pub(super) fn all<I: IntoIterator<IntoIter: Clone>>(
    items: I,
    write: impl Fn(&mut fmt::Formatter<'_>, I::Item) -> fmt::Result,
) -> impl Display {
    let items = items.into_iter();
    from_fn(move |f| items.clone().try_for_each(|item| write(f, item)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_holds_its_values_and_marks_round_ones() {
        let scale = Scale::of([30.0, 4000.0].into_iter()).unwrap();
        assert_eq!(scale.marks(), [50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]);
        assert!(scale.part(30.0) > 0.0 && scale.part(4000.0) < 1.0);
        assert!(Scale::of([0.0, f64::NAN].into_iter()).is_none());
    }

    #[test]
    fn a_long_name_keeps_both_of_its_ends() {
        assert_eq!(elided("sqlite:one.db", 13), "sqlite:one.db");
        assert_eq!(elided("sqlite:a/long/way/to/one.db", 13), "sqlite…one.db");
    }

    #[test]
    fn names_of_lines_that_end_alike_stand_below_each_other() {
        let line = |name: &str| Line { name: name.into(), class: "c0".into(), values: vec![Some(1.0), Some(10.0)] };
        let plot = Plot {
            title: "plot".into(),
            across: "clients",
            places: vec!["1".into(), "8".into()],
            lines: ["a", "b", "c"].map(line).into(),
            value: |value| value.to_string(),
        };
        let shown = plot.to_string();
        let heights = shown.split("<g class=\"name ").skip(1).filter_map(|name| name.split("\" y=\"").nth(1));
        let heights = heights.map(|rest| rest.split('"').next().unwrap());
        let mut heights: Vec<f64> = heights.map(|y| y.parse().unwrap()).collect();
        assert_eq!(heights.len(), 3);
        heights.dedup_by(|one, other| (*one - *other).abs() < NAME - 0.1);
        assert_eq!(heights.len(), 3, "{shown}");
    }
}

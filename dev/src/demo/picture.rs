//! Frames of the view as one animated SVG, for pages: text in a monospace font that the reader has,
//! blocks and rules as shapes, so that columns stand wherever it is shown. Nothing of the machine gets
//! into it but what the frames show. Readers that do not animate show one frame.

use std::fmt::Write as _;
use std::time::Duration;

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

use super::scene::Scene;
use super::view;

/// Columns and lines of the picture.
const SIZE: (u16, u16) = (100, 34);
/// A cell in units of the picture.
const CELL: (f32, f32) = (8.4, 18.0);
const MARGIN: f32 = 16.0;
const TITLE: f32 = 32.0;
const SHOWN: Duration = Duration::from_millis(1_500);
const LAST_SHOWN: Duration = Duration::from_millis(4_000);

/// When key frames are taken: seconds before (-) and after the kill, and after the take-over.
const AROUND_KILL: [f32; 6] = [-10.0, -5.0, -1.0, 0.8, 2.5, 4.2];
const AFTER_TAKEOVER: [f32; 3] = [1.6, 4.5, 9.0];

/// The scenes worth showing, in order, and the place of the one just after the take-over.
pub(super) fn key_frames(scenes: &[Scene]) -> (Vec<&Scene>, usize) {
    let kill = scenes.iter().find_map(|scene| scene.kill.as_ref());
    let taken = scenes
        .iter()
        .find_map(|scene| scene.kill.as_ref()?.taken_over);
    let Some(kill) = kill else {
        return (scenes.last().into_iter().collect(), 0);
    };
    let kill = kill.at.as_secs_f32();
    let takeover = kill + taken.unwrap_or_default().as_secs_f32();
    let before = AROUND_KILL.iter().map(|after| kill + after);
    let before: Vec<_> = before.filter(|at| *at < takeover).collect();
    let after = AFTER_TAKEOVER.iter().map(|after| takeover + after);
    let mut frames: Vec<&Scene> = Vec::new();
    for at in before.iter().copied().chain(after).chain([f32::MAX]) {
        let first = scenes
            .iter()
            .find(|scene| scene.elapsed.as_secs_f32() >= at);
        let Some(scene) = first.or(scenes.last()) else {
            continue;
        };
        if frames
            .last()
            .is_none_or(|last| last.elapsed < scene.elapsed)
        {
            frames.push(scene);
        }
    }
    let is_answered = |scene: &&Scene| {
        let kill = scene.kill.as_ref();
        kill.is_some_and(|kill| kill.taken_over.is_some())
    };
    let still = frames.iter().position(is_answered);
    let still = still.unwrap_or(frames.len().saturating_sub(1));
    (frames, still)
}

/// Draws scenes one after another, for ever; `still` is what stands where nothing moves.
pub(super) fn svg(scenes: &[&Scene], still: usize) -> String {
    let area = Rect::new(0, 0, SIZE.0, SIZE.1);
    let width = f32::from(SIZE.0) * CELL.0 + 2.0 * MARGIN;
    let height = f32::from(SIZE.1) * CELL.1 + MARGIN + TITLE;
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" role="img" aria-label="cargo demo: a worker is killed, another one takes over">
<style>
text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}}
.b{{font-weight:700}}
.frame rect:not([rx]){{shape-rendering:crispEdges}}
.frame{{visibility:hidden}}
.still{{visibility:visible}}
"##
    );
    let times = scenes.iter().enumerate().map(|(place, _)| {
        if place + 1 == scenes.len() {
            LAST_SHOWN
        } else {
            SHOWN
        }
    });
    let times: Vec<f32> = times.map(|time| time.as_secs_f32()).collect();
    let whole: f32 = times.iter().sum();
    out.push_str("@media (prefers-reduced-motion:no-preference){\n");
    let mut began = 0.0;
    for (place, time) in times.iter().enumerate() {
        let (from, to) = (began / whole * 100.0, (began + time) / whole * 100.0);
        began += time;
        let hidden = |at: f32| format!("{at:.2}%{{visibility:hidden}}");
        let before = if place == 0 {
            String::new()
        } else {
            hidden(0.0)
        };
        let after = if place + 1 == times.len() {
            String::new()
        } else {
            hidden(to)
        };
        // Writing to a text cannot fail.
        let _ = writeln!(
            out,
            "@keyframes f{place}{{{before}{from:.2}%{{visibility:visible}}{after}}}\n.f{place}{{animation:f{place} {whole:.1}s step-end infinite}}"
        );
    }
    out.push_str("}\n</style>\n");
    let _ = writeln!(
        out,
        r##"<rect x=".5" y=".5" width="{:.0}" height="{:.0}" rx="10" fill="#10141a" stroke="#2b323c"/>
<g fill="#3a424d"><circle cx="20" cy="17" r="5"/><circle cx="36" cy="17" r="5"/><circle cx="52" cy="17" r="5"/></g>
<text x="{:.0}" y="22" text-anchor="middle" fill="#7d8794">cargo demo</text>"##,
        width - 1.0,
        height - 1.0,
        width / 2.0,
    );
    for (place, scene) in scenes.iter().enumerate() {
        let mut buffer = Buffer::empty(area);
        view::draw(scene, area, &mut buffer);
        let class = if place == still { " still" } else { "" };
        let _ = writeln!(
            out,
            r##"<g class="frame f{place}{class}" fill="#d6dbe2" transform="translate({MARGIN:.0} {TITLE:.0})">"##
        );
        frame(&buffer, &mut out);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn frame(buffer: &Buffer, out: &mut String) {
    for (y, cells) in (0_u16..).zip(buffer.content().chunks(usize::from(SIZE.0))) {
        for (x, run) in runs(cells) {
            shapes(x, y, run, out);
        }
    }
}

/// Neighbouring cells of one look, each with its column.
fn runs(cells: &[Cell]) -> Vec<(u16, &[Cell])> {
    let look = |cell: &Cell| (cell.fg, cell.bg, cell.modifier, drawn(cell.symbol()));
    let mut runs = Vec::new();
    let mut x = 0;
    for run in cells.chunk_by(|one, other| look(one) == look(other)) {
        runs.push((x, run));
        x += u16::try_from(run.len()).unwrap_or(u16::MAX);
    }
    runs
}

/// How a symbol is put down.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Drawn {
    Text,
    /// A symbol that fonts make wider or narrower than the others: alone in its place.
    Alone(char),
    Rule,
    Square,
    /// A block: its part of the cell from the left, and from the bottom.
    Block(f32, f32),
}

fn drawn(symbol: &str) -> Drawn {
    let eighths = |of: char| f32::from(u8::try_from(u32::from(of) & 0xf).unwrap_or(8)) / 8.0;
    match symbol.chars().next() {
        Some('─') => Drawn::Rule,
        Some('■') => Drawn::Square,
        Some(lower @ '▁'..='█') => Drawn::Block(1.0, eighths(lower)),
        Some(left @ '▉'..='▏') => Drawn::Block(2.0 - eighths(left), 1.0),
        Some(other) if !other.is_ascii() && other != '·' => Drawn::Alone(other),
        _ => Drawn::Text,
    }
}

fn shapes(x: u16, y: u16, run: &[Cell], out: &mut String) {
    let Some(first) = run.first() else { return };
    let length = u16::try_from(run.len()).unwrap_or(u16::MAX);
    let (left, top) = (f32::from(x) * CELL.0, f32::from(y) * CELL.1);
    let width = f32::from(length) * CELL.0;
    if let Some(fill) = hex(first.bg) {
        let _ = writeln!(
            out,
            r#"<rect x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{:.0}" fill="{fill}"/>"#,
            CELL.1
        );
    }
    let fill = hex(first.fg).map(|fill| format!(r#" fill="{fill}""#));
    let fill = fill.unwrap_or_default();
    let is_dim = first.modifier.contains(Modifier::DIM);
    let dim = if is_dim { r#" opacity=".55""# } else { "" };
    match drawn(first.symbol()) {
        Drawn::Rule => {
            let _ = writeln!(
                out,
                r##"<rect x="{left:.1}" y="{:.1}" width="{width:.1}" height="1" fill="#3a424d"/>"##,
                top + CELL.1 / 2.0
            );
        }
        Drawn::Square => {
            for place in 0..length {
                let _ = writeln!(
                    out,
                    r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" rx="1"{fill}{dim}/>"#,
                    left + f32::from(place) * CELL.0,
                    top + CELL.1 * 0.25,
                    CELL.0 * 0.95,
                    CELL.1 * 0.5,
                );
            }
        }
        Drawn::Block(part, tall) => {
            let high = CELL.1 * tall;
            let _ = writeln!(
                out,
                r#"<rect x="{left:.1}" y="{:.1}" width="{:.1}" height="{high:.1}"{fill}{dim}/>"#,
                top + CELL.1 - high,
                width * part,
            );
        }
        Drawn::Text | Drawn::Alone(_) => {
            let text: String = run.iter().map(Cell::symbol).collect();
            let is_bold = first.modifier.contains(Modifier::BOLD);
            let bold = if is_bold { r#" class="b""# } else { "" };
            for (place, words) in words(&text) {
                // Every symbol here is one cell wide.
                let wide = u16::try_from(words.chars().count()).unwrap_or(u16::MAX);
                let _ = writeln!(
                    out,
                    r#"<text x="{:.1}" y="{:.1}" textLength="{:.1}"{bold}{fill}{dim}>{}</text>"#,
                    left + f32::from(place) * CELL.0,
                    top + CELL.1 * 0.75,
                    f32::from(wide) * CELL.0,
                    escaped(words),
                );
            }
        }
    }
}

/// The parts of a text between wider gaps, each with its place: not every reader keeps spaces.
fn words(text: &str) -> Vec<(u16, &str)> {
    let mut found = Vec::new();
    let mut place = 0;
    for part in text.split("  ") {
        let words = part.trim();
        if !words.is_empty() {
            let before = part.chars().take_while(|symbol| *symbol == ' ').count();
            found.push((place + u16::try_from(before).unwrap_or(0), words));
        }
        place += u16::try_from(part.chars().count()).unwrap_or(0) + 2;
    }
    found
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

/// The colour on the picture's dark ground; `None` is the ground's or the text's own.
fn hex(color: Color) -> Option<&'static str> {
    Some(match color {
        Color::Red => "#ff6b6b",
        Color::Green => "#5fd38d",
        Color::Yellow => "#f2c55c",
        Color::Blue => "#6ea8fe",
        Color::Magenta => "#c58af9",
        Color::Cyan => "#56c8d8",
        Color::White => "#ffffff",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::samples::{crowd, killed, taken_over};

    /// A scene each quarter of a second: the kill after 15 s, the take-over 6.4 s later.
    fn run() -> Vec<Scene> {
        let scene = |quarter: u32| {
            let elapsed = Duration::from_millis(250) * quarter;
            let scene = match elapsed.as_secs_f32() {
                ..15.0 => crowd(),
                15.0..21.4 => killed(),
                _ => taken_over(),
            };
            Scene { elapsed, ..scene }
        };
        (0..180).map(scene).collect()
    }

    #[test]
    fn the_frames_are_those_around_the_kill_and_the_still_one_follows_the_takeover() {
        let scenes = run();
        let (frames, still) = key_frames(&scenes);
        let seconds: Vec<_> = frames
            .iter()
            .map(|scene| scene.elapsed.as_secs_f32())
            .collect();
        assert_eq!(
            seconds,
            [5.0, 10.0, 14.0, 16.0, 17.5, 19.25, 23.25, 26.0, 30.5, 44.75]
        );
        assert_eq!(seconds[still], 23.25);
    }

    #[test]
    fn without_a_kill_the_end_is_the_picture() {
        assert_eq!(key_frames(&[]).0.len(), 0);
        let scenes = [crowd(), crowd()];
        assert_eq!(key_frames(&scenes).0.len(), 1);
    }

    #[test]
    fn every_tag_is_closed_and_no_text_becomes_one() {
        let mut hostile = crowd();
        let passing = &mut hostile.figures.passing;
        passing[0].who = "<&>".to_owned();
        let (killed, taken_over) = (killed(), taken_over());
        let svg = svg(&[&hostile, &killed, &taken_over], 2);
        for tag in ["g", "text", "svg", "style"] {
            let opened =
                svg.matches(&format!("<{tag} ")).count() + svg.matches(&format!("<{tag}>")).count();
            let closed = svg.matches(&format!("</{tag}>")).count();
            assert_eq!(opened, closed, "{tag}");
        }
        assert!(svg.contains("&lt;&amp;&gt;"), "{svg}");
        assert!(!svg.contains("<&"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("\"inf"), "{svg}");
    }

    #[test]
    fn words_keep_their_columns_whatever_becomes_of_spaces() {
        let expected = [(0, "pid 7"), (8, "a"), (11, "b c")];
        assert_eq!(words("pid 7   a  b c    "), expected);
        assert_eq!(words("    "), []);
    }

    #[test]
    fn a_run_makes_a_picture_that_a_page_can_carry() {
        let scenes = run();
        let (frames, still) = key_frames(&scenes);
        let svg = svg(&frames, still);
        assert!(svg.len() < 300_000, "{} bytes", svg.len());
        assert_eq!(svg.matches("class=\"frame ").count(), frames.len());
        assert_eq!(svg.matches(" still\"").count(), 1);
    }
}

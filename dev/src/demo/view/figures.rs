//! The upper panels: sessions by state, rates over time, latencies, results by code.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Sparkline, SparklineBar, Widget as _};

use super::{ACCENT, BAD, CARE, GOOD, titled};
use crate::demo::pulse::WINDOW;
use crate::demo::scene::Scene;
use crate::percentiles::Percentiles;

/// Wide enough for a label, a code's longest name and its count.
const CODE: u16 = 21;
/// The latencies' panel: a label and four numbers.
const LATENCIES: u16 = 31;

pub(super) fn rates(scene: &Scene, area: Rect, buffer: &mut Buffer) {
    let [sessions, answers, events] = Layout::horizontal([Constraint::Fill(1); 3])
        .spacing(2)
        .areas(area);
    by_state(scene, sessions, buffer);
    let figures = &scene.figures;
    rate(
        scene,
        "answers/s",
        &figures.answers_by_second,
        answers,
        buffer,
    );
    rate(scene, "events/s", &figures.events_by_second, events, buffer);
}

fn by_state(scene: &Scene, area: Rect, buffer: &mut Buffer) {
    let figures = &scene.figures;
    let total = figures.waiting + figures.active + figures.ended;
    let body = titled("sessions", total.to_string().bold(), area, buffer);
    let states = [
        ("waiting", figures.waiting, CARE),
        ("active", figures.active, GOOD),
        ("ended", figures.ended, Color::Reset),
    ];
    for ((name, count, color), row) in states.into_iter().zip(body.rows()) {
        let label = format!("{name:<7} {count:>4} ");
        let left = usize::from(row.width).saturating_sub(label.len());
        let bar = bar(count, total, left).fg(color);
        let bar = if color == Color::Reset {
            bar.dim()
        } else {
            bar
        };
        Line::from(vec![label.into(), bar]).render(row, buffer);
    }
}

/// A part of a whole, to an eighth of a cell.
fn bar(part: usize, whole: usize, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (part * width * 8).checked_div(whole).unwrap_or(0);
    // Whatever is there at all is seen.
    let eighths = eighths.max(usize::from(part > 0));
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn rate(scene: &Scene, title: &str, seconds: &[u64], area: Rect, buffer: &mut Buffer) {
    let latest = seconds.last().copied().unwrap_or(0);
    let body = titled(title, latest.to_string().bold(), area, buffer);
    let fits = usize::from(body.width);
    let first = seconds.len().saturating_sub(fits);
    let orphaned = scene.kill.as_ref().map(|kill| {
        let from = kill.at.as_secs();
        let end = kill
            .taken_over
            .map_or(u64::MAX, |after| (kill.at + after).as_secs());
        from..end
    });
    let bars = seconds
        .iter()
        .zip(0_u64..)
        .skip(first)
        .map(|(count, second)| {
            let is_orphaned = orphaned.as_ref().is_some_and(|time| time.contains(&second));
            let color = if is_orphaned { BAD } else { ACCENT };
            SparklineBar::from(*count).style(Style::new().fg(color))
        });
    Sparkline::default().data(bars).render(body, buffer);
}

pub(super) fn results(scene: &Scene, area: Rect, buffer: &mut Buffer) {
    let [left, right] = Layout::horizontal([Constraint::Length(LATENCIES), Constraint::Fill(1)])
        .spacing(2)
        .areas(area);
    latencies(scene, left, buffer);
    codes(scene, right, buffer);
}

fn latencies(scene: &Scene, area: Rect, buffer: &mut Buffer) {
    let body = titled("command to result", "ms", area, buffer);
    let head = format!(
        "{:<9}{:>5}{:>5}{:>6}{:>6}",
        "", "p50", "p90", "p99", "worst"
    );
    let numbers = |label: &str, of: Percentiles| {
        let Percentiles {
            p50,
            p90,
            p99,
            worst,
        } = of;
        format!("{label:<9}{p50:>5}{p90:>5}{p99:>6}{worst:>6}")
    };
    let window = format!("last {} s", WINDOW.as_secs());
    let lines = [
        Line::from(head.dim()),
        Line::from(numbers(&window, scene.figures.recent)),
        Line::from(numbers("all", scene.figures.all)),
    ];
    for (line, row) in lines.into_iter().zip(body.rows()) {
        line.render(row, buffer);
    }
}

/// Columns of codes, the most frequent first; the last cell stands for those without a place.
fn codes(scene: &Scene, area: Rect, buffer: &mut Buffer) {
    let figures = &scene.figures;
    let end = format!("{} of {} asked", figures.answered, figures.asked);
    let body = titled("results", end, area, buffer);
    let columns = (body.width + 2) / (CODE + 2);
    let room = usize::from(columns * body.height);
    let mut cells = figures.codes.clone();
    if cells.len() > room && room > 0 {
        let others = cells.split_off(room - 1);
        let count = others.iter().map(|(_, count)| count).sum();
        cells.push((format!("{} others", others.len()), count));
    }
    let rows = usize::from(body.height.max(1));
    for (index, (code, count)) in cells.iter().take(room).enumerate() {
        let place = |index: usize| u16::try_from(index).unwrap_or(u16::MAX);
        let cell = Rect {
            x: body.x + place(index / rows) * (CODE + 2),
            y: body.y + place(index % rows),
            width: CODE,
            height: 1,
        };
        let width = usize::from(CODE) - code.len();
        let name = match code.as_str() {
            code if code.starts_with("accepted") => code.fg(GOOD),
            "internal_error" => code.as_str().fg(BAD).bold(),
            code => code.into(),
        };
        let count = format!("{count:>width$}");
        Line::from(vec![name, count.into()]).render(cell, buffer);
    }
}

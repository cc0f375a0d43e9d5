//! A scene as a frame of text: a pure function onto a buffer of any size, so that the terminal, the
//! picture and the tests draw the same. Knows no terminal; what does not fit is left out.

mod figures;
mod lanes;
mod passing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::scene::{Phase, Scene};

/// Below this, panels would cut words.
const PANELS: (u16, u16) = (78, 20);
/// From this height on, panels get air.
const ROOMY: u16 = 32;

const ACCENT: Color = Color::Cyan;
const GOOD: Color = Color::Green;
const BAD: Color = Color::Red;
const CARE: Color = Color::Yellow;
/// A worker each.
const OWNERS: [Color; 3] = [Color::Blue, Color::Green, Color::Magenta];

/// Draws the scene.
pub(super) fn draw(scene: &Scene, area: Rect, buffer: &mut Buffer) {
    if area.width < PANELS.0 || area.height < PANELS.1 {
        return lines(scene, area, buffer);
    }
    let is_roomy = area.height >= ROOMY;
    let area = Rect {
        x: area.x + 1,
        width: area.width - 2,
        ..area
    };
    let gap = u16::from(is_roomy);
    let faults = u16::try_from(scene.figures.faults.len().min(3)).unwrap_or(3);
    let [head, top, middle, lanes, bad, bottom] = Layout::vertical([
        Constraint::Length(1 + gap),
        Constraint::Length(if is_roomy { 5 } else { 4 } + gap),
        Constraint::Length(if is_roomy { 5 } else { 4 } + gap),
        Constraint::Length(lanes::height(scene, is_roomy) + gap),
        Constraint::Length(faults),
        Constraint::Fill(1),
    ])
    .areas(area);
    header(scene, head, buffer);
    let less = |area: Rect| Rect {
        height: area.height - gap,
        ..area
    };
    figures::rates(scene, less(top), buffer);
    figures::results(scene, less(middle), buffer);
    lanes::draw(scene, less(lanes), is_roomy, buffer);
    for (fault, row) in scene.figures.faults.iter().rev().zip(bad.rows()) {
        Line::from(format!("FAULT: {fault}").fg(BAD).bold()).render(row, buffer);
    }
    passing::draw(scene, bottom, buffer);
}

fn header(scene: &Scene, area: Rect, buffer: &mut Buffer) {
    let steps = [
        (Phase::Join, "join"),
        (Phase::Crowd, "crowd"),
        (Phase::Kill, "kill"),
        (Phase::Takeover, "takeover"),
        (Phase::Deadlines, "deadlines"),
    ];
    let mut line = Line::from(vec![
        "session-worker".bold(),
        format!("  {}   ", clock(scene.elapsed)).into(),
    ]);
    for (index, (phase, name)) in steps.into_iter().enumerate() {
        if index > 0 {
            line.push_span(" › ".dim());
        }
        line.push_span(if phase == scene.phase {
            let color = match phase {
                Phase::Kill => BAD,
                Phase::Takeover => GOOD,
                _ => ACCENT,
            };
            name.fg(color).bold()
        } else if phase < scene.phase {
            name.into()
        } else {
            name.dim()
        });
    }
    line.render(area, buffer);
    Line::from("q quits".dim())
        .right_aligned()
        .render(first_row(area), buffer);
}

/// A panel's title and what stands at its right end, on a rule; returns the panel's body.
fn titled<'text>(
    title: &'text str,
    end: impl Into<Line<'text>>,
    area: Rect,
    buffer: &mut Buffer,
) -> Rect {
    let row = first_row(area);
    let end = end.into();
    let title = Line::from(vec![title.bold().dim(), " ".into()]);
    let taken = title.width() + end.width() + usize::from(end.width() > 0);
    let rule = "─".repeat(usize::from(row.width).saturating_sub(taken));
    let mut line = title;
    line.push_span(rule.dim());
    line.push_span(" ");
    line.extend(end);
    line.render(row, buffer);
    Rect {
        y: area.y.saturating_add(row.height),
        height: area.height - row.height,
        ..area
    }
}

fn first_row(area: Rect) -> Rect {
    Rect {
        height: area.height.min(1),
        ..area
    }
}

/// Minutes and seconds.
fn clock(at: Duration) -> String {
    let seconds = at.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// Where panels do not fit: the same as lines, the most telling first.
fn lines(scene: &Scene, area: Rect, buffer: &mut Buffer) {
    let figures = &scene.figures;
    let rate = |seconds: &[u64]| seconds.last().copied().unwrap_or(0);
    let mut shown: Vec<Line<'_>> = vec![
        Line::from(vec![
            "session-worker ".bold(),
            Span::styled(clock(scene.elapsed), Style::new().fg(ACCENT)),
        ]),
        Line::from(format!(
            "{} waiting, {} active, {} ended",
            figures.waiting, figures.active, figures.ended
        )),
        Line::from(format!(
            "{} answers/s, {} events/s",
            rate(&figures.answers_by_second),
            rate(&figures.events_by_second)
        )),
        Line::from(format!(
            "p50 {} ms, p99 {} ms, lag {}",
            figures.recent.p50,
            figures.recent.p99,
            scene.lag()
        )),
    ];
    shown.extend(lanes::kill(scene).filter(|_| scene.kill.is_some()));
    let faults = figures.faults.iter().rev();
    shown.extend(faults.map(|fault| Line::from(format!("FAULT: {fault}").fg(BAD))));
    let room = usize::from(area.height).saturating_sub(shown.len());
    shown.extend(passing::latest(scene, room, false));
    for (line, row) in shown.into_iter().zip(area.rows()) {
        line.render(row, buffer);
    }
}

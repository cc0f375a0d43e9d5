//! The panel of events as they pass: the newest at the bottom, as many as fit.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::{ACCENT, CARE, clock, titled};
use crate::demo::scene::{Passing, Scene};

/// From this width on, a session is shown by its whole id.
const WHOLE_ID: u16 = 110;

pub(super) fn draw(scene: &Scene, area: Rect, buffer: &mut Buffer) {
    let total = scene.figures.events.to_string();
    let body = titled("events as they pass", total.bold(), area, buffer);
    let is_wide = body.width >= WHOLE_ID;
    let latest = latest(scene, usize::from(body.height), is_wide);
    for (line, row) in latest.zip(body.rows()) {
        line.render(row, buffer);
    }
}

/// The last events that fit into so many lines, the newest last.
pub(super) fn latest(scene: &Scene, room: usize, is_wide: bool) -> impl Iterator<Item = Line<'_>> {
    let passing = &scene.figures.passing;
    let first = passing.len().saturating_sub(room);
    passing[first..]
        .iter()
        .map(move |passing| line(passing, is_wide))
}

fn line(passing: &Passing, is_wide: bool) -> Line<'_> {
    let id: String = passing
        .session
        .chars()
        .take(if is_wide { 36 } else { 8 })
        .collect();
    let style = match passing.kind.as_str() {
        "session.created" | "session.started" => Style::new().fg(ACCENT),
        "session.host_changed" | "session.expiring" => Style::new().fg(CARE),
        "session.ended" => Style::new().bold(),
        _ => Style::new(),
    };
    let who = format!("{:<10} ", passing.who);
    Line::from(vec![
        format!("{} {id} ", clock(passing.at)).dim(),
        format!("{:>3} ", passing.sequence).dim(),
        Span::styled(format!("{:<25}", passing.kind), style),
        if passing.who == "timer" {
            who.fg(CARE)
        } else {
            who.into()
        },
        Span::raw(&passing.detail),
    ])
}

//! The panel of workers and their lanes: who owns which partition, how far behind it is, the kill and
//! the take-over.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use super::{BAD, GOOD, OWNERS, clock, titled};
use crate::demo::scene::{LaneCell, Scene, TopicRow, WorkerRow};

/// A worker's name and process.
const NAME: usize = 24;
/// A lane's cell.
const CELL: usize = 3;

pub(super) fn height(scene: &Scene, is_roomy: bool) -> u16 {
    let workers = u16::try_from(scene.workers.len())
        .unwrap_or(u16::MAX)
        .min(4);
    // The rule, the topics' names, a line a worker, the lag and the kill.
    4 + workers + u16::from(is_roomy)
}

pub(super) fn draw(scene: &Scene, area: Rect, is_roomy: bool, buffer: &mut Buffer) {
    let lag = Line::from(vec!["lag ".into(), scene.lag().to_string().bold()]);
    let body = titled("workers and their lanes", lag, area, buffer);
    let mut lines = vec![names(scene)];
    if is_roomy {
        lines.push(numbers(scene));
    }
    for (place, worker) in scene.workers.iter().enumerate() {
        lines.push(owned(scene, place, worker));
    }
    lines.push(lags(scene));
    lines.extend(kill(scene));
    for (line, row) in lines.into_iter().zip(body.rows()) {
        line.render(row, buffer);
    }
}

fn names(scene: &Scene) -> Line<'_> {
    let mut line = Line::from(" ".repeat(NAME));
    for topic in &scene.topics {
        let width = (topic.lanes.len() * CELL + 2).max(topic.name.len() + 2);
        line.push_span(format!("  {:<1$}", topic.name, width - 2).dim());
    }
    line
}

/// A label and something for each lane.
fn row<'scene>(
    scene: &'scene Scene,
    label: Vec<Span<'scene>>,
    cell: impl Fn(usize, &LaneCell) -> Span<'scene>,
) -> Line<'scene> {
    let mut line = Line::from(label);
    let missing = NAME.saturating_sub(line.width());
    line.push_span(" ".repeat(missing));
    for topic in &scene.topics {
        for (number, lane) in topic.lanes.iter().enumerate() {
            line.push_span(cell(number, lane));
        }
        let TopicRow { name, lanes } = topic;
        let missing = (name.len() + 2).saturating_sub(lanes.len() * CELL);
        line.push_span(" ".repeat(missing.max(2)));
    }
    line
}

fn numbers(scene: &Scene) -> Line<'_> {
    row(scene, Vec::new(), |number, _| {
        format!("{number:>CELL$}").dim()
    })
}

fn owned<'scene>(scene: &'scene Scene, place: usize, worker: &'scene WorkerRow) -> Line<'scene> {
    let color = OWNERS[place % OWNERS.len()];
    let label = match (worker.is_killed, worker.pid) {
        (true, _) => vec![format!("✗ {:<10}", worker.name).fg(BAD), "killed".fg(BAD)],
        (false, Some(pid)) => vec![
            "● ".fg(color),
            format!("{:<10}", worker.name).into(),
            format!("pid {pid}").dim(),
        ],
        (false, None) => vec![format!("○ {:<10}", worker.name).dim(), "starts".dim()],
    };
    row(scene, label, move |_, lane| {
        if lane.owner != Some(place) {
            "  ·".dim()
        } else if worker.is_killed {
            "  ✗".fg(BAD).bold()
        } else {
            "  ■".fg(color)
        }
    })
}

fn lags(scene: &Scene) -> Line<'_> {
    row(scene, vec!["  lag".dim()], |_, lane| match lane.lag {
        None => "  -".dim(),
        Some(0) => "  0".dim(),
        Some(lag @ 1..100) => format!("{lag:>CELL$}").into(),
        Some(_) => "99+".bold(),
    })
}

/// The kill, from its announcement to who took over.
pub(super) fn kill(scene: &Scene) -> Option<Line<'_>> {
    let Some(kill) = &scene.kill else {
        let announced = "half-way, one worker gets a kill -9";
        return Some(Line::from(announced.dim()));
    };
    let victim = format!(" {} at {} · ", kill.victim, clock(kill.at));
    let seconds = |time: std::time::Duration| format!("{:.1} s", time.as_secs_f64());
    Some(match kill.taken_over {
        None => {
            let silent = seconds(scene.elapsed.saturating_sub(kill.at));
            Line::from(vec![
                " kill -9 ".fg(Color::White).bg(BAD).bold(),
                victim.into(),
                format!("{} lanes orphaned", kill.lanes).fg(BAD).bold(),
                format!(" · silent for {silent}").into(),
            ])
        }
        Some(after) => Line::from(vec![
            " kill -9 ".fg(BAD),
            victim.into(),
            "taken over".fg(GOOD).bold(),
            format!(": first answer after {}", seconds(after)).into(),
        ]),
    })
}

//! Made-up scenes for the tests of the view and the picture: the crowd, the kill, the take-over.

use std::time::Duration;

use super::scene::{Figures, KillRow, LaneCell, Passing, Phase, Scene, TopicRow, WorkerRow};
use crate::percentiles::Percentiles;

/// A moment in the crowd.
pub(super) fn crowd() -> Scene {
    let lane = |owner| LaneCell {
        owner: Some(owner),
        lag: Some(0),
    };
    let lanes = |_| {
        let mut lanes = vec![lane(0); 4];
        lanes.extend([lane(1); 4]);
        lanes
    };
    let mut topics: Vec<_> = ["match-found", "session-command"]
        .into_iter()
        .map(|name| TopicRow {
            name: name.to_owned(),
            lanes: lanes(name),
        })
        .collect();
    topics[1].lanes[2].lag = Some(7);
    topics[1].lanes[5].lag = Some(140);
    topics[1].lanes[6].lag = None;
    let event = |second: u64, sequence, kind: &str, who: &str, detail: &str| Passing {
        at: Duration::from_millis(second * 1_000),
        session: "8f3a21c0-5a3e-5d7b-9e1f-0123456789ab".to_owned(),
        sequence,
        kind: kind.to_owned(),
        who: who.to_owned(),
        detail: detail.to_owned(),
    };
    let codes = [
        ("accepted", 1_203),
        ("session_full", 24),
        ("not_host", 24),
        ("invite_not_found", 10),
        ("too_many_attempts", 2),
        ("accepted, replayed", 1),
        ("command_conflict", 1),
        ("limit_concurrent", 1),
        ("limit_daily", 1),
    ];
    Scene {
        elapsed: Duration::from_millis(12_300),
        phase: Phase::Crowd,
        figures: Figures {
            waiting: 4,
            active: 21,
            ended: 15,
            asked: 1_270,
            answered: 1_267,
            events: 861,
            answers_by_second: vec![0, 12, 55, 96, 130, 121, 118, 140, 133, 128, 122, 117],
            events_by_second: vec![0, 8, 40, 70, 88, 92, 80, 101, 99, 92, 96, 95],
            recent: Percentiles {
                p50: 9,
                p90: 17,
                p99: 31,
                worst: 58,
            },
            all: Percentiles {
                p50: 10,
                p90: 21,
                p99: 402,
                worst: 1_811,
            },
            codes: codes.map(|(code, count)| (code.to_owned(), count)).into(),
            passing: vec![
                event(10, 1, "session.created", "room03-0", "private fr"),
                event(11, 2, "participant.joined", "room03-0", ""),
                event(11, 3, "participant.joined", "room03-1", ""),
                event(11, 4, "session.started", "room03-0", ""),
                event(12, 5, "participant.disconnected", "room03-1", ""),
                event(12, 6, "participant.left", "room03-1", "disconnect_timeout"),
                event(12, 7, "session.expiring", "timer", "6 s left"),
                event(12, 8, "session.host_changed", "room03-2", "after room03-0"),
                event(12, 9, "session.ended", "timer", "timeout"),
            ],
            faults: Vec::new(),
        },
        workers: ["worker-1", "worker-2"]
            .into_iter()
            .zip([41_117, 4_194_304])
            .map(|(name, pid)| WorkerRow {
                name: name.to_owned(),
                pid: Some(pid),
                is_killed: false,
            })
            .collect(),
        topics,
        kill: None,
    }
}

/// Four seconds after the kill.
pub(super) fn killed() -> Scene {
    let mut scene = crowd();
    scene.elapsed = Duration::from_secs(19);
    scene.phase = Phase::Kill;
    scene.workers[0].is_killed = true;
    scene.workers[0].pid = None;
    scene.figures.answers_by_second = vec![
        0, 12, 55, 96, 130, 121, 118, 140, 133, 128, 122, 117, 110, 131, 122, 60, 31, 8, 2,
    ];
    scene.kill = Some(KillRow {
        victim: "worker-1".to_owned(),
        at: Duration::from_secs(15),
        lanes: 8,
        taken_over: None,
    });
    scene
}

/// After the take-over.
pub(super) fn taken_over() -> Scene {
    let mut scene = killed();
    scene.elapsed = Duration::from_secs(24);
    scene.phase = Phase::Takeover;
    for lane in scene.topics.iter_mut().flat_map(|topic| &mut topic.lanes) {
        lane.owner = Some(1);
    }
    scene.kill = scene.kill.map(|kill| KillRow {
        taken_over: Some(Duration::from_millis(6_412)),
        ..kill
    });
    scene
}

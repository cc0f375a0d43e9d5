//! Frames of made-up scenes, letter for letter, at the sizes that people have; colours where they say
//! something; and no panic at any size.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::*;
use crate::demo::samples::{crowd, killed, taken_over};

fn drawn(scene: &Scene, width: u16, height: u16) -> Buffer {
    let backend = TestBackend::new(width, height);
    let mut terminal = Terminal::new(backend).expect("a terminal in memory always opens");
    let drawn = terminal.draw(|frame| {
        let area = frame.area();
        draw(scene, area, frame.buffer_mut());
    });
    drawn
        .expect("a terminal in memory takes everything")
        .buffer
        .clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width.max(1));
    let rows = buffer.content().chunks(width);
    let row = |cells: &[ratatui::buffer::Cell]| {
        let row: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        row.trim_end().to_owned()
    };
    rows.map(row).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_crowd_fits_eighty_columns_by_twenty_four() {
    insta::assert_snapshot!(text(&drawn(&crowd(), 80, 24)), @r"
     session-worker  00:12   join › crowd › kill › takeover › deadlines     q quits
     sessions ───────────── 40  answers/s ────────── 117  events/s ───────────── 95
     waiting    4 █▏                ▆▄▄█▆▅▄▄                  ▄▅▃█▇▅▆▆
     active    21 ██████▎         ▁█████████                ▁█████████
     ended     15 ████▌          ▂██████████               ▁██████████
     command to result ────────── ms  results ────────────────── 1267 of 1270 asked
                p50  p90   p99 worst  accepted         1203  invite_not_found   10
     last 10 s    9   17    31    58  session_full       24  too_many_attempts   2
     all         10   21   402  1811  not_host           24  4 others            4
     workers and their lanes ────────────────────────────────────────────── lag 147
                               match-found               session-command
     ● worker-1  pid 41117     ■  ■  ■  ■  ·  ·  ·  ·    ■  ■  ■  ■  ·  ·  ·  ·
     ● worker-2  pid 4194304   ·  ·  ·  ·  ■  ■  ■  ■    ·  ·  ·  ·  ■  ■  ■  ■
       lag                     0  0  0  0  0  0  0  0    0  0  7  0  099+  -  0
     half-way, one worker gets a kill -9
     events as they pass ────────────────────────────────────────────────────── 861
     00:11 8f3a21c0   2 participant.joined       room03-0
     00:11 8f3a21c0   3 participant.joined       room03-1
     00:11 8f3a21c0   4 session.started          room03-0
     00:12 8f3a21c0   5 participant.disconnected room03-1
     00:12 8f3a21c0   6 participant.left         room03-1   disconnect_timeout
     00:12 8f3a21c0   7 session.expiring         timer      6 s left
     00:12 8f3a21c0   8 session.host_changed     room03-2   after room03-0
     00:12 8f3a21c0   9 session.ended            timer      timeout
    ");
}

#[test]
fn the_kill_fits_eighty_columns_by_twenty_four() {
    insta::assert_snapshot!(text(&drawn(&killed(), 80, 24)), @r"
     session-worker  00:19   join › crowd › kill › takeover › deadlines     q quits
     sessions ───────────── 40  answers/s ──────────── 2  events/s ───────────── 95
     waiting    4 █▏                ▆▄▄█▆▅▄▄▂▆▄               ▄▅▃█▇▅▆▆
     active    21 ██████▎         ▁████████████▂            ▁█████████
     ended     15 ████▌          ▂██████████████▅▁         ▁██████████
     command to result ────────── ms  results ────────────────── 1267 of 1270 asked
                p50  p90   p99 worst  accepted         1203  invite_not_found   10
     last 10 s    9   17    31    58  session_full       24  too_many_attempts   2
     all         10   21   402  1811  not_host           24  4 others            4
     workers and their lanes ────────────────────────────────────────────── lag 147
                               match-found               session-command
     ✗ worker-1  killed        ✗  ✗  ✗  ✗  ·  ·  ·  ·    ✗  ✗  ✗  ✗  ·  ·  ·  ·
     ● worker-2  pid 4194304   ·  ·  ·  ·  ■  ■  ■  ■    ·  ·  ·  ·  ■  ■  ■  ■
       lag                     0  0  0  0  0  0  0  0    0  0  7  0  099+  -  0
      kill -9  worker-1 at 00:15 · 8 lanes orphaned · silent for 4.0 s
     events as they pass ────────────────────────────────────────────────────── 861
     00:11 8f3a21c0   2 participant.joined       room03-0
     00:11 8f3a21c0   3 participant.joined       room03-1
     00:11 8f3a21c0   4 session.started          room03-0
     00:12 8f3a21c0   5 participant.disconnected room03-1
     00:12 8f3a21c0   6 participant.left         room03-1   disconnect_timeout
     00:12 8f3a21c0   7 session.expiring         timer      6 s left
     00:12 8f3a21c0   8 session.host_changed     room03-2   after room03-0
     00:12 8f3a21c0   9 session.ended            timer      timeout
    ");
}

#[test]
fn the_takeover_has_air_at_a_hundred_and_twenty_by_forty() {
    insta::assert_snapshot!(text(&drawn(&taken_over(), 120, 40)), @r"
     session-worker  00:24   join › crowd › kill › takeover › deadlines                                             q quits

     sessions ────────────────────────── 40  answers/s ────────────────────────── 2  events/s ────────────────────────── 95
     waiting    4 ██▌                            ▅▃▂█▆▅▃▂▁▅▃                             ▃▅▁█▇▅▆▆
     active    21 █████████████▏                ▅███████████                            ▆████████
     ended     15 █████████▍                   ▄████████████▅                          ▄█████████
                                              ▂██████████████▇▁                       ▂██████████

     command to result ────────── ms  results ────────────────────────────────────────────────────────── 1267 of 1270 asked
                p50  p90   p99 worst  accepted         1203  too_many_attempts   2  limit_daily         1
     last 10 s    9   17    31    58  session_full       24  accepted, replayed  1
     all         10   21   402  1811  not_host           24  command_conflict    1
                                      invite_not_found   10  limit_concurrent    1

     workers and their lanes ────────────────────────────────────────────────────────────────────────────────────── lag 147
                               match-found               session-command
                               0  1  2  3  4  5  6  7    0  1  2  3  4  5  6  7
     ✗ worker-1  killed        ·  ·  ·  ·  ·  ·  ·  ·    ·  ·  ·  ·  ·  ·  ·  ·
     ● worker-2  pid 4194304   ■  ■  ■  ■  ■  ■  ■  ■    ■  ■  ■  ■  ■  ■  ■  ■
       lag                     0  0  0  0  0  0  0  0    0  0  7  0  099+  -  0
      kill -9  worker-1 at 00:15 · taken over: first answer after 6.4 s

     events as they pass ────────────────────────────────────────────────────────────────────────────────────────────── 861
     00:10 8f3a21c0-5a3e-5d7b-9e1f-0123456789ab   1 session.created          room03-0   private fr
     00:11 8f3a21c0-5a3e-5d7b-9e1f-0123456789ab   2 participant.joined       room03-0
     00:11 8f3a21c0-5a3e-5d7b-9e1f-0123456789ab   3 participant.joined       room03-1
     00:11 8f3a21c0-5a3e-5d7b-9e1f-0123456789ab   4 session.started          room03-0
     00:12 8f3a21c0-5a3e-5d7b-9e1f-0123456789ab   5 participant.disconnected room03-1
     00:12 8f3a21c0-5a3e-5d7b-9e1f-0123456789ab   6 participant.left         room03-1   disconnect_timeout
     00:12 8f3a21c0-5a3e-5d7b-9e1f-0123456789ab   7 session.expiring         timer      6 s left
     00:12 8f3a21c0-5a3e-5d7b-9e1f-0123456789ab   8 session.host_changed     room03-2   after room03-0
     00:12 8f3a21c0-5a3e-5d7b-9e1f-0123456789ab   9 session.ended            timer      timeout
    ");
}

#[test]
fn a_small_terminal_gets_lines() {
    insta::assert_snapshot!(text(&drawn(&killed(), 40, 12)), @r"
    session-worker 00:19
    4 waiting, 21 active, 15 ended
    2 answers/s, 95 events/s
    p50 9 ms, p99 31 ms, lag 147
     kill -9  worker-1 at 00:15 · 8 lanes or
    00:11 8f3a21c0   3 participant.joined
    00:11 8f3a21c0   4 session.started
    00:12 8f3a21c0   5 participant.disconnec
    00:12 8f3a21c0   6 participant.left
    00:12 8f3a21c0   7 session.expiring
    00:12 8f3a21c0   8 session.host_changed
    00:12 8f3a21c0   9 session.ended
    ");
}

#[test]
fn the_kill_is_red_until_another_worker_answers() {
    let red = |scene: &Scene| {
        let buffer = drawn(scene, 80, 24);
        let cells = buffer.content().iter();
        let red = cells.filter(|cell| cell.fg == BAD || cell.bg == BAD);
        let symbols: String = red.map(ratatui::buffer::Cell::symbol).collect();
        symbols
    };
    assert!(!red(&crowd()).contains('✗'));
    let killed = red(&killed());
    assert_eq!(
        killed.matches('✗').count(),
        9,
        "the worker and its eight lanes: {killed}"
    );
    assert!(killed.contains("8 lanes orphaned"), "{killed}");
    assert!(killed.contains('█'), "the seconds since are red: {killed}");
    let taken_over = red(&taken_over());
    assert_eq!(taken_over.matches('✗').count(), 1, "{taken_over}");
    assert!(!taken_over.contains("orphaned"), "{taken_over}");
}

#[test]
fn a_fault_is_told_at_every_size_that_has_a_line_for_it() {
    let mut scene = killed();
    scene.figures.faults = vec!["an event came twice".to_owned()];
    for (width, height) in [(80, 24), (120, 40), (40, 12)] {
        let shown = text(&drawn(&scene, width, height));
        assert!(shown.contains("FAULT: an event came twice"), "{shown}");
    }
}

#[test]
fn no_size_is_too_small_or_too_large() {
    let mut faulty = taken_over();
    faulty.figures.faults = vec!["wrong".to_owned(); 9];
    faulty.topics.clear();
    let mut many = killed();
    many.workers = vec![many.workers[1].clone(); 9];
    for scene in [Scene::default(), killed(), faulty, many] {
        for width in [0, 1, 2, 9, 40, 77, 78, 79, 80, 101, 300] {
            for height in [0, 1, 2, 7, 19, 20, 21, 24, 31, 32, 90] {
                let buffer = drawn(&scene, width, height);
                assert_eq!((buffer.area.width, buffer.area.height), (width, height));
            }
        }
    }
}

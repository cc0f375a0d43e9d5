//! Guards, against real processes: what becomes of a service when its owner ends in any way.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Instant;

use super::*;

const BOUND: Duration = Duration::from_secs(20);

/// In this folder a test's own executable plays the owner: it starts a service and then hangs.
const OWNER_VARIABLE: &str = "SESSION_WORKER_DEV_TEST_OWNER_FOLDER";

fn sleeper(folder: &Path, fate: Fate, grace_seconds: u32) -> Spec {
    shell(folder, "exec sleep 600", fate, grace_seconds)
}

fn shell(folder: &Path, script: &str, fate: Fate, grace_seconds: u32) -> Spec {
    let folder = folder.join("service");
    std::fs::create_dir_all(&folder).expect("a folder for the service");
    Spec {
        program: PathBuf::from("sh"),
        arguments: vec!["-c".into(), script.into()],
        log: folder.join("service.log"),
        folder,
        fate,
        grace_seconds,
    }
}

fn is_alive(pid: u32) -> bool {
    let raw = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::test_kill_process(raw.expect("a process id")).is_ok()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < BOUND, "{what} did not come to pass");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn started(process: &Process) -> u32 {
    until("a start", || process.pid().is_some()).await;
    process.pid().expect("a started process")
}

#[tokio::test]
async fn an_end_by_itself_is_reported_with_its_code() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let spec = shell(folder.path(), "echo spoken; exit 7", Fate::Keep, 0);
    let process = Process::start(spec).expect("a process");
    assert_eq!(process.ended().await, 7);
    assert_eq!(process.exit_code(), Some(7));
    assert_eq!(process.pid(), None);
    let log = std::fs::read_to_string(process.log()).expect("a log");
    assert_eq!(log, "spoken\n");
}

#[tokio::test]
async fn a_program_that_is_not_there_reads_as_an_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut spec = sleeper(folder.path(), Fate::Keep, 0);
    spec.program = PathBuf::from("no-program-has-this-name");
    let process = Process::start(spec).expect("a guard");
    assert_eq!(process.ended().await, 127);
}

#[tokio::test]
async fn dropping_the_owner_ends_the_service_and_removes_its_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let set = folder.path().join("set");
    let process = Process::start(sleeper(&set, Fate::Remove, 0)).expect("a process");
    let pid = started(&process).await;
    drop(process);
    assert!(!is_alive(pid));
    assert!(
        !set.exists(),
        "the last service takes the set's folder along"
    );
}

#[tokio::test]
async fn a_service_that_ignores_sigterm_is_killed_after_the_grace() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = "trap '' TERM; echo deaf; while :; do sleep 0.1; done";
    let process = Process::start(shell(folder.path(), script, Fate::Keep, 1)).expect("a process");
    let pid = started(&process).await;
    let log = process.log().to_path_buf();
    until("deafness", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log == "deaf\n")
    })
    .await;
    let began = Instant::now();
    drop(process);
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "SIGTERM has its second"
    );
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_frozen_service_is_ended_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for grace_seconds in [0, 5] {
        let spec = sleeper(folder.path(), Fate::Keep, grace_seconds);
        let process = Process::start(spec).expect("a process");
        let pid = started(&process).await;
        process.signal(Signal::Freeze).await;
        let began = Instant::now();
        drop(process);
        assert!(!is_alive(pid));
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "SIGTERM works once it is thawed"
        );
    }
}

#[tokio::test]
async fn a_service_is_killed_and_started_again_in_its_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let set = folder.path().join("set");
    let script = "echo run >>runs; exec sleep 600";
    let process = Process::start(shell(&set, script, Fate::Remove, 0)).expect("a process");
    let first = started(&process).await;
    process.kill().await;
    assert_eq!(process.exit_code(), Some(128 + 9));
    assert!(!is_alive(first));
    process.restart().await.expect("a restart");
    let second = started(&process).await;
    assert_ne!(first, second);
    let runs = set.join("service/runs");
    until("a second run", || {
        std::fs::read_to_string(&runs).is_ok_and(|it| it == "run\nrun\n")
    })
    .await;
    process.stop(BOUND).await;
    assert_eq!(process.exit_code(), Some(128 + 15));
    drop(process);
    assert!(!set.exists());
}

#[tokio::test]
async fn a_signal_to_the_guard_ends_the_service() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let process = Process::start(sleeper(folder.path(), Fate::Keep, 2)).expect("a process");
    let pid = started(&process).await;
    let parent = parent_of(pid).await;
    rustix::process::kill_process(parent, rustix::process::Signal::TERM).expect("a guard");
    let ended = tokio::time::timeout(BOUND, process.ended()).await;
    assert_eq!(ended.expect("an end in time"), 128 + 15);
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_killed_guard_still_ends_the_service_with_its_owner() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let process = Process::start(sleeper(folder.path(), Fate::Keep, 2)).expect("a process");
    let pid = started(&process).await;
    let parent = parent_of(pid).await;
    rustix::process::kill_process(parent, rustix::process::Signal::KILL).expect("a guard");
    drop(process);
    until("the service's end", || !is_alive(pid)).await;
}

async fn parent_of(pid: u32) -> rustix::process::Pid {
    let answer = tokio::process::Command::new("ps")
        .args(["-o", "ppid=", "-p", &pid.to_string()])
        .output()
        .await
        .expect("ps runs");
    let text = String::from_utf8_lossy(&answer.stdout);
    let raw = text
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    raw.expect("the number of the parent")
}

/// Not a test of its own: [`a_killed_owner_takes_its_service_along`] runs it in a process to kill.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "the environment tells this process that it plays the owner"
)]
async fn owner_that_hangs() {
    let Some(folder) = std::env::var_os(OWNER_VARIABLE) else {
        return;
    };
    let set = Path::new(&folder).join("set");
    let process = Process::start(sleeper(&set, Fate::Remove, 0)).expect("a process");
    let pid = started(&process).await;
    let note = Path::new(&folder).join("pid");
    std::fs::write(note.with_extension("new"), pid.to_string()).expect("a note");
    std::fs::rename(note.with_extension("new"), note).expect("a note");
    match std::env::var("SESSION_WORKER_DEV_TEST_OWNER_END").as_deref() {
        Ok("panic") => panic!("the owner's panic, on purpose"),
        Ok("exit") => std::process::exit(3),
        _ => std::future::pending().await,
    }
}

async fn owner(folder: &Path, end: &str) -> (std::process::Child, u32) {
    let program = std::env::current_exe().expect("this program");
    let child = Command::new(program)
        .args(["guard::tests::owner_that_hangs", "--exact", "--nocapture"])
        .env(OWNER_VARIABLE, folder)
        .env("SESSION_WORKER_DEV_TEST_OWNER_END", end)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("an owner");
    let note = folder.join("pid");
    until("the owner's note", || note.exists()).await;
    let pid = std::fs::read_to_string(note)
        .expect("a note")
        .parse()
        .expect("a number");
    (child, pid)
}

#[tokio::test]
async fn a_killed_owner_takes_its_service_along() {
    use rustix::process::{Signal, kill_process};
    // Not INT or HUP: whoever was started in the background, or by nohup, hands down that they are ignored.
    for signal in [Signal::KILL, Signal::TERM] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mut child, pid) = owner(folder.path(), "hang").await;
        assert!(is_alive(pid));
        let raw = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        kill_process(raw.expect("a process id"), signal).expect("a living owner");
        let status = child.wait().expect("a dead owner");
        assert_eq!(status.signal(), Some(signal.as_raw()));
        until("the service's end", || !is_alive(pid)).await;
        until("the folder's removal", || {
            !folder.path().join("set").exists()
        })
        .await;
    }
}

#[tokio::test]
async fn a_panic_and_an_exit_of_the_owner_take_its_service_along() {
    for (end, code) in [("panic", 101), ("exit", 3)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mut child, pid) = owner(folder.path(), end).await;
        assert_eq!(
            child.wait().expect("an ended owner").code(),
            Some(code),
            "{end}"
        );
        until("the service's end", || !is_alive(pid)).await;
        until("the folder's removal", || {
            !folder.path().join("set").exists()
        })
        .await;
    }
}

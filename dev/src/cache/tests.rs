//! The cache, against folders and locks of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const SILENT: Progress = Progress::Silent;

fn cache() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = Cache::at(folder.path());
    (folder, cache)
}

fn fill(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder.join("lib")).io("create", folder)?;
    std::fs::write(folder.join("lib/a.jar"), "content").io("write", folder)
}

#[tokio::test]
async fn many_at_once_fetch_a_part_only_once() {
    let (_folder, cache) = cache();
    let fetches = Arc::new(AtomicU32::new(0));
    let tasks = (0..8).map(|_| {
        let (cache, fetches) = (cache.clone(), Arc::clone(&fetches));
        tokio::spawn(async move {
            let fetch = async |folder: &Path| {
                fetches.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                fill(folder)
            };
            cache.part("part", "a part", SILENT, fetch).await
        })
    });
    for task in futures::future::join_all(tasks).await {
        let part = task.expect("no panic").expect("a part");
        assert!(part.join("lib/a.jar").is_file());
    }
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_failed_fetch_leaves_no_part_behind() {
    let (folder, cache) = cache();
    let fail = async |fresh: &Path| {
        fill(fresh)?;
        check_sha256(&fresh.join("lib/a.jar"), &"0".repeat(64))
    };
    let failed = cache.part("part", "a part", SILENT, fail).await;
    assert!(matches!(failed, Err(Error::Checksum { .. })), "{failed:?}");
    assert!(!folder.path().join("part").exists());

    let fetched = cache.part("part", "a part", SILENT, async |fresh: &Path| {
        assert!(
            fresh.read_dir().expect("a folder").next().is_none(),
            "it begins empty"
        );
        fill(fresh)
    });
    fetched.await.expect("the next fetch works");
}

#[tokio::test]
async fn a_part_cut_off_or_cleaned_away_is_fetched_again() {
    let (_folder, cache) = cache();
    let part = cache
        .part("part", "a part", SILENT, async |folder: &Path| fill(folder))
        .await;
    let jar = part.expect("a part").join("lib/a.jar");
    let damages: [fn(&Path); 3] = [
        |jar| std::fs::write(jar, "cont").expect("a file to cut off"),
        |jar| std::fs::remove_file(jar).expect("a file to remove"),
        |jar| std::fs::write(jar.with_extension("more"), "x").expect("a folder to write to"),
    ];
    for damage in damages {
        damage(&jar);
        let part = cache
            .part("part", "a part", SILENT, async |folder: &Path| fill(folder))
            .await;
        part.expect("a part");
        assert_eq!(
            std::fs::read_to_string(&jar).expect("a whole file"),
            "content"
        );
        assert!(!jar.with_extension("more").exists());
    }
    let whole = cache.part("part", "a part", SILENT, async |_: &Path| {
        panic!("a whole part is not fetched")
    });
    whole.await.expect("a part");
}

#[tokio::test]
async fn a_lock_keeps_others_out_until_it_is_dropped() {
    let (_folder, cache) = cache();
    let first = cache.lock("name", "", SILENT).await.expect("a free lock");
    let mut second = std::pin::pin!(cache.lock("name", "", SILENT));
    let early = tokio::time::timeout(LOCK_INTERVAL * 3, &mut second).await;
    assert!(early.is_err(), "the lock is held");
    drop(first);
    second.await.expect("a free lock");
}

#[test]
fn a_file_with_another_digest_is_refused_by_name() {
    let (folder, _cache) = cache();
    let file = folder.path().join("a.whl");
    std::fs::write(&file, "abc").expect("a folder to write to");
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    check_sha256(&file, abc).expect("the digest of `abc` of FIPS 180-2");
    let message = check_sha256(&file, &"0".repeat(64))
        .expect_err("another digest")
        .to_string();
    assert!(
        message.starts_with("a.whl is not the expected file"),
        "{message}"
    );
    assert!(message.contains(abc), "{message}");
}

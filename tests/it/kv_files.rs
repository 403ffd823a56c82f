//! The files of keys and values: backed up and restored, under a full disk, and under a process that is killed. They are a cache:
//! whatever becomes of them, the same texts are written, and what is whole of them is found again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use bul_tests::{Ran, Server, ServerOptions, SmallDisk, eventually, written};

const AREAS: [(&str, &str); 3] = [("marketing", "strategy"), ("sales", "process"), ("hr", "policy")];

/// A system of its own that computes every text.
fn options() -> ServerOptions {
    ServerOptions::default().with("BUL_CACHE_MEMORY_MIB_MAX", "0")
}

/// The same with files, to which blocks of prompts go at once.
fn with_files() -> ServerOptions {
    options().with("BUL_MODEL_DISK_MIB_MAX", "256").with("BUL_MODEL_TIER_WRITE", "through")
}

/// Writes a document of each area into a folder; what came of it, by file name without the job's id.
fn write_documents(server: &Server, folder: &str) -> BTreeMap<String, String> {
    written(server, AREAS, folder)
}

/// Has one more document written, whose prompts nobody has seen yet.
fn write_another(server: &Server, name: &str) {
    server.cli(&["submit", "--query", name, "--format", "md", "--wait"]).expect(0);
}

/// The value of a line of `/metrics`; 0 where it is not there yet.
fn metric(server: &Server, name: &str) -> i64 {
    bul_tests::metric(server.port(), name).unwrap_or(0)
}

const TOKENS: &str = "bul_engine_tier_tokens_total{tier=\"disk\"}";
const WRITTEN: &str = "bul_engine_disk_blocks_total{outcome=\"written\"}";
const FAILED: &str = "bul_engine_disk_blocks_total{outcome=\"failed\"}";
const DAMAGED: &str = "bul_engine_disk_blocks_total{outcome=\"damaged\"}";
const UNREADABLE: &str = "bul_engine_disk_blocks_total{outcome=\"unreadable\"}";
const FAILING: &str = "bul_engine_disk_failing";

/// Names of the backups in `folder`, the newest first.
fn backups(server: &Server, folder: &Path) -> Vec<String> {
    let from = folder.display().to_string();
    let listed = server.cli(&["backup", "list", "--from", &from, "-o", "json"]).expect(0).json();
    let names = listed.as_array().expect("a list").iter();
    names.map(|backup| backup["name"].as_str().expect("a name").to_owned()).collect()
}

fn back_up(server: &Server, folder: &Path, keep: &str) -> String {
    let to = folder.display().to_string();
    let made = server.cli(&["backup", "create", "--to", &to, "--keep", keep, "-o", "json"]).expect(0).json();
    made["backup"]["name"].as_str().expect("a name").to_owned()
}

/// Brings a backup back after all files of the cache are gone; a new process writes the same texts, with what it finds in them.
fn restore_and_compare(
    server: &mut Server,
    (folder, name): (&Path, &str),
    out: &str,
    texts: &BTreeMap<String, String>,
) {
    server.kill();
    let files = server.home().join("data/kv");
    fs::remove_dir_all(&files).expect("there are files");
    let from = folder.display().to_string();
    server.cli(&["backup", "restore", name, "--from", &from]).expect(0);
    assert!(fs::metadata(files.join("kv-0000000000.seg")).is_ok_and(|file| file.len() > 10_000));
    server.restart();
    assert_eq!(write_documents(server, out), *texts);
    assert!(metric(server, TOKENS) > 0, "nothing was found in the restored files");
    assert_eq!((metric(server, DAMAGED), metric(server, UNREADABLE)), (0, 0));
}

#[test]
fn a_backup_brings_the_cache_back_even_one_made_while_it_is_written_to() {
    let texts = write_documents(&Server::start(options()), "out");
    let (by_calendar, by_command) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let calendar = by_calendar.path().display().to_string();
    let mut server = Server::start(
        with_files()
            .with("BUL_BACKUP_FOLDER", &calendar)
            .with("BUL_BACKUP_CRON", "* * * * *")
            .with("BUL_BACKUP_KEEP", "1"),
    );
    assert_eq!(write_documents(&server, "out"), texts);
    // An older one, which has to go when the calendar's comes.
    let older = back_up(&server, by_calendar.path(), "5");
    let mut n = 0;
    let scheduled = eventually("a backup by the calendar", || {
        n += 1;
        write_another(&server, &format!("Document {n}"));
        let found = backups(&server, by_calendar.path());
        (!found.contains(&older)).then_some(found)
    });
    assert_eq!(scheduled.len(), 1, "{scheduled:?}");
    // Without a pause, while blocks are written.
    let commands: Vec<Command> = (0..4)
        .map(|n| {
            let mut command = server.command();
            command.args(["submit", "--query", &format!("Further {n}"), "--format", "md", "--wait"]);
            command
        })
        .collect();
    let writing =
        std::thread::spawn(move || commands.into_iter().for_each(|mut c| drop(Ran::of(&mut c).expect(0))));
    let mut made = Vec::new();
    while !writing.is_finished() {
        let before = metric(&server, WRITTEN);
        let name = back_up(&server, by_command.path(), "2");
        made.push((name, metric(&server, WRITTEN) > before));
    }
    writing.join().expect("the documents are written");
    let newest: Vec<&str> = made.iter().rev().take(2).map(|(name, _)| name.as_str()).collect();
    assert_eq!(backups(&server, by_command.path()), newest);
    assert!(made.len() > 2 && made.iter().any(|(_, written)| *written), "{made:?}");
    restore_and_compare(&mut server, (by_command.path(), newest[0]), "from-command", &texts);
    // The calendar goes on and may have made a newer one by now.
    server.kill();
    let scheduled = backups(&server, by_calendar.path()).remove(0);
    restore_and_compare(&mut server, (by_calendar.path(), &scheduled), "from-calendar", &texts);
}

/// The disk of the cache fills up: documents are written as before, log and metric say what is wrong, and when there is room
/// again it is used without a restart.
#[test]
fn a_full_disk_under_the_cache_costs_nothing_but_cache() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let texts = write_documents(&Server::start(options()), "out");
    let mut server = Server::start(options());
    server.kill();
    fs::create_dir_all(server.home().join("data")).expect("the folder of the data");
    std::os::unix::fs::symlink(disk.path(), server.home().join("data/kv")).expect("a link");
    for (name, value) in &with_files().environment {
        server = server.with_environment(name, value);
    }
    server.restart();
    write_another(&server, "Before");
    let written = metric(&server, WRITTEN);
    assert!(written > 0 && metric(&server, FAILING) == 0);
    disk.fill();
    assert_eq!(write_documents(&server, "full"), texts);
    server.wait_for_line("KV blocks are not written for now");
    assert_eq!((metric(&server, FAILING), metric(&server, DAMAGED)), (1, 0));
    assert!(metric(&server, FAILED) > 0);
    let held = metric(&server, WRITTEN);
    disk.empty();
    let mut n = 0;
    eventually("blocks are written again", || {
        n += 1;
        write_another(&server, &format!("Again {n}"));
        (metric(&server, FAILING) == 0).then_some(())
    });
    assert!(metric(&server, WRITTEN) > held);
    server.wait_for_line("KV blocks are written again");
    assert_eq!(server.settle()["dead"], 0);
    server.kill();
    server.restart();
    assert_eq!(write_documents(&server, "after"), texts);
    assert!(metric(&server, TOKENS) > 0, "nothing was found of what was written");
    assert_eq!((metric(&server, DAMAGED), metric(&server, UNREADABLE)), (0, 0));
}

/// A process is killed again and again while it writes blocks: the next one finds what was whole.
#[test]
fn a_process_that_is_killed_leaves_files_that_the_next_one_reads() {
    let texts = write_documents(&Server::start(options()), "out");
    let mut server = Server::start(with_files());
    for round in 0..4 {
        let jobs: String = (0..4)
            .map(|n| format!("{{\"query\": \"Round {round}, document {n}\", \"formats\": [\"md\"]}}\n"))
            .collect();
        server.cli_with_input(&["submit", "-"], &jobs).expect(0);
        eventually("blocks are written", || (metric(&server, WRITTEN) > 0).then_some(()));
        server.kill();
        server.restart();
    }
    server.settle();
    assert!(metric(&server, TOKENS) > 0, "the last process found nothing");
    assert_eq!(write_documents(&server, "out"), texts);
    assert_eq!((metric(&server, DAMAGED), metric(&server, UNREADABLE)), (0, 0));
}

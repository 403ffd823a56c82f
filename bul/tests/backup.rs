//! Backups: made, listed, verified, restored, and refused where they would do harm.

mod support;

use std::fs;
use std::path::PathBuf;

use support::Bul;

/// An installation with one API key, a cached block and a cached text.
fn installation() -> Bul {
    let bul = Bul::new();
    bul.json(&["key", "create", "--name", "erp"]);
    for file in ["kv/kv-1.seg", "kv/lock", "texts/v1/ab/abcd", "texts/lock"] {
        let path = data(&bul).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    bul
}

fn data(bul: &Bul) -> PathBuf {
    bul.folder.path().join("data")
}

fn backup(bul: &Bul, keep: &str) -> String {
    let made = bul.json(&["backup", "create", "--to", "backups", "--keep", keep]);
    made["backup"]["name"].as_str().unwrap().to_owned()
}

fn names_of_keys(bul: &Bul) -> Vec<String> {
    let keys = bul.json(&["key", "list"]);
    let mut names: Vec<_> =
        keys.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_restore_brings_store_and_caches_back_and_deletes_nothing() {
    let bul = installation();
    let name = backup(&bul, "7");
    bul.json(&["key", "create", "--name", "later"]);
    fs::write(data(&bul).join("kv/kv-1.seg"), "changed").unwrap();
    fs::write(data(&bul).join("texts/v1/ab/new"), "new").unwrap();

    let restored = bul.json(&["backup", "restore", &name, "--from", "backups"]);
    assert_eq!(names_of_keys(&bul), ["erp"]);
    assert_eq!(fs::read_to_string(data(&bul).join("kv/kv-1.seg")).unwrap(), "kv/kv-1.seg");
    assert!(!data(&bul).join("texts/v1/ab/new").exists());
    assert_eq!(fs::read_to_string(data(&bul).join("texts/v1/ab/abcd")).unwrap(), "texts/v1/ab/abcd");
    let before = restored["before"].as_array().unwrap();
    assert_eq!(before.len(), 3, "{restored}");
    assert!(before.iter().all(|path| PathBuf::from(path.as_str().unwrap()).exists()), "{restored}");

    // What was there before is a store that still works.
    let store = before.iter().find_map(|path| path.as_str().filter(|path| path.contains("bul.db"))).unwrap();
    let keys = bul.run_with(&["key", "list", "-o", "json"], &[("BUL_STORE", &format!("sqlite:{store}"))], "");
    assert!(keys.out.contains("\"later\""), "{keys:?}");
}

#[test]
fn backups_are_private_and_locks_are_not_in_them() {
    use std::os::unix::fs::PermissionsExt;
    let bul = installation();
    let name = backup(&bul, "7");
    let listed = bul.json(&["backup", "list", "--from", "backups"]);
    let mut paths: Vec<_> =
        listed[0]["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["kv/kv-1.seg", "store/bul.db", "texts/v1/ab/abcd"]);
    for file in ["store/bul.db", "kv/kv-1.seg", "manifest.json"] {
        let mode = fs::metadata(bul.folder.path().join("backups").join(&name).join(file)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn only_the_newest_stay_and_what_a_crash_left_goes() {
    let bul = installation();
    let crashed = bul.folder.path().join("backups/.part-bul-20200101T000000.000Z/store");
    fs::create_dir_all(&crashed).unwrap();
    fs::create_dir_all(bul.folder.path().join("backups/holiday-pictures")).unwrap();
    let names: Vec<String> = (0..3).map(|_| backup(&bul, "2")).collect();
    let listed = bul.json(&["backup", "list", "--from", "backups"]);
    let left: Vec<_> = listed.as_array().unwrap().iter().map(|b| b["name"].as_str().unwrap()).collect();
    assert_eq!(left, [&names[2], &names[1]]);
    assert!(!crashed.exists());
    assert!(bul.folder.path().join("backups/holiday-pictures").exists());
}

#[test]
fn a_damaged_backup_is_refused_and_changes_nothing() {
    let bul = installation();
    let name = backup(&bul, "7");
    assert!(bul.run(&["backup", "verify", &name, "--from", "backups"]).out.contains("is whole"));
    bul.json(&["key", "create", "--name", "later"]);
    let place = bul.folder.path().join("backups").join(&name);
    fs::write(place.join("kv/kv-1.seg"), "kv/kv-1.sex").unwrap();
    for action in ["verify", "restore"] {
        let refused = bul.run(&["backup", action, &name, "--from", "backups"]);
        refused.fails(1, &["is damaged", "kv/kv-1.seg has changed"]);
    }
    fs::remove_file(place.join("store/bul.db")).unwrap();
    bul.run(&["backup", "restore", &name, "--from", "backups"]).fails(1, &["is damaged", "store/bul.db"]);
    assert_eq!(names_of_keys(&bul), ["erp", "later"]);
}

#[test]
fn a_manifest_names_no_file_outside_of_its_backup() {
    let bul = installation();
    let name = backup(&bul, "7");
    let manifest = bul.folder.path().join("backups").join(&name).join("manifest.json");
    let honest = fs::read_to_string(&manifest).unwrap();
    for path in ["../../data/bul.db", "/etc/passwd", "kv/../../x", "kv", "elsewhere/file"] {
        fs::write(&manifest, honest.replace("kv/kv-1.seg", path)).unwrap();
        bul.run(&["backup", "restore", &name, "--from", "backups"]).fails(1, &["no file of a backup"]);
    }
    fs::write(&manifest, honest.replace("\"version\": 1", "\"version\": 2")).unwrap();
    bul.run(&["backup", "restore", &name, "--from", "backups"]).fails(1, &["use a newer program"]);
    bul.run(&["backup", "restore", "../data", "--from", "backups"]).fails(3, &["there is no backup"]);
}

#[test]
fn a_store_or_cache_in_use_is_left_alone() {
    let bul = installation();
    let name = backup(&bul, "7");
    fs::create_dir_all(data(&bul).join("kv/engine-1")).unwrap();
    for lock in ["bul.db.lock", "kv/lock", "kv/engine-1/lock", "texts/lock"] {
        let file = fs::File::options().write(true).create(true).truncate(false).open(data(&bul).join(lock));
        let file = file.unwrap();
        file.try_lock().unwrap();
        bul.run(&["backup", "restore", &name, "--from", "backups"]).fails(1, &["in use", "stop every bul"]);
        drop(file);
    }
    bul.json(&["backup", "restore", &name, "--from", "backups"]);
}

#[test]
fn without_a_folder_the_error_names_what_is_missing() {
    let bul = installation();
    bul.run(&["backup", "create"]).fails(2, &["--to", "backup.folder"]);
    let doctor = bul.run(&["doctor"]);
    assert!(doctor.out.contains("backup         off"), "{doctor:?}");
    let unset = bul.run_with(&["up"], &[("BUL_BACKUP_CRON", "0 3 * * *")], "");
    unset.fails(2, &["backup.cron is set without backup.folder"]);
}

//! Pages of the executable that starting has read and running does not need: given back to the system.
//!
//! They are the same as in the file; whoever needs one again gets it from the system's cache. Without effect on other systems than
//! Linux.

#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "calls of the system"))]

/// Forgets constants of the executable.
///
/// # Safety
/// Only for data that is part of the executable's file, and not for memory that was leaked, which would be lost.
#[cfg(target_os = "linux")]
pub unsafe fn forget(data: &'static [u8]) {
    const PAGE: usize = 4096;
    let skipped = data.as_ptr().align_offset(PAGE).min(data.len());
    let (start, len) = (data[skipped..].as_ptr(), (data.len() - skipped) / PAGE * PAGE);
    if len > 0 {
        // SAFETY: whole pages within constants, as the caller says, which nobody can have written to; whoever reads them again finds
        // them as they are in the file. Without effect where a page has another size.
        unsafe { libc::madvise(start.cast_mut().cast(), len, libc::MADV_DONTNEED) };
    }
}

/// Forgets the executable's code and constants, a third of which no job ever needs: options, migrations, the opening of models.
#[cfg(target_os = "linux")]
pub fn forget_code() {
    let (Ok(maps), Ok(exe)) = (std::fs::read_to_string("/proc/self/maps"), std::env::current_exe()) else {
        return;
    };
    let Some(exe) = exe.to_str() else { return };
    for (start, end) in maps.lines().filter_map(|line| unchanged(line, exe)) {
        // SAFETY: mappings of the executable that nobody can write to or could while it was loaded: their pages are those of the file.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// The addresses of a line of `/proc/self/maps` (proc(5)), if it is code of this executable or the part at its beginning, constants.
/// Other parts that are only read by now were written to while addresses were put in.
#[cfg(target_os = "linux")]
fn unchanged(line: &str, exe: &str) -> Option<(usize, usize)> {
    let (addresses, rest) = line.split_once(' ')?;
    let is_unchanged = rest.starts_with("r-xp ") || rest.starts_with("r--p 00000000 ");
    if !is_unchanged || !rest.ends_with(exe) {
        return None;
    }
    let (start, end) = addresses.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

/// Without effect here.
///
/// # Safety
/// As elsewhere.
#[cfg(not(target_os = "linux"))]
pub unsafe fn forget(_: &'static [u8]) {}

#[cfg(not(target_os = "linux"))]
pub fn forget_code() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_in_the_file_is_forgotten() {
        let exe = "/usr/bin/bul";
        for (line, expected) in [
            ("55d0c000-55d0e000 r-xp 0000c000 fe:00 12 /usr/bin/bul", Some((0x55d0_c000, 0x55d0_e000))),
            ("55d0c000-55d0e000 r--p 0000c000 fe:00 12 /usr/bin/bul", None),
            ("55d0c000-55d0e000 r--p 00000000 fe:00 12 /usr/bin/bul", Some((0x55d0_c000, 0x55d0_e000))),
            ("55d0c000-55d0e000 rwxp 0000c000 fe:00 12 /usr/bin/bul", None),
            ("55d0c000-55d0e000 r-xp 0000c000 fe:00 12 /usr/lib/libc.so.6", None),
            ("55d0c000-55d0e000 r-xp 00000000 00:00 0", None),
            ("", None),
        ] {
            assert_eq!(unchanged(line, exe), expected, "{line}");
        }
    }

    #[test]
    fn what_was_forgotten_runs_again() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let before = resident();
        forget_code();
        assert!(resident() < before, "{} kB of files, {before} before", resident());
    }
}

//! Files to jobs: read, recognised and checked here, so that every mistake is named with its file and
//! place before anything is sent.

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::Context as _;
use bul_job::{FieldError, JobError, Limits, RawJob, ValidJob};
use bul_producer::ingest::{self, Hints, IngestLimits, Source};

use crate::exit::Fault;

/// Mistakes that are printed; the rest is counted.
const MISTAKES_MAX: usize = 50;

/// A job and where it came from.
#[derive(Debug, Clone)]
pub struct Given {
    /// The job.
    pub job: RawJob,
    /// `orders.csv`; empty when it came from flags.
    pub file: String,
    /// `row 3`, `/2`; empty where the file is this one job.
    pub place: String,
}

impl Given {
    /// `orders.csv: row 3: /priority: …`
    pub fn mistake(&self, error: &FieldError) -> String {
        let place = if self.place.starts_with('/') {
            format!("{}{}", self.place, error.pointer)
        } else {
            [self.place.as_str(), error.pointer.as_str()]
                .iter()
                .filter(|p| !p.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join(": ")
        };
        [self.file.as_str(), place.as_str(), error.message.as_str()]
            .iter()
            .filter(|p| !p.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join(": ")
    }
}

/// All jobs of all files; if one is wrong, none, and everything that is wrong.
pub fn read_files(files: &[String], source: Option<Source>, hints: &Hints) -> anyhow::Result<Vec<Given>> {
    let limits = IngestLimits::default();
    let mut given = Vec::new();
    let mut mistakes = Vec::new();
    for file in files {
        let bytes = read(file, limits.body_bytes_max)?;
        let shown = if file == "-" { "standard input" } else { file };
        let name = (file != "-")
            .then(|| Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned());
        let hints = Hints { file_name: name.clone(), ..hints.clone() };
        let source = source.map_or_else(|| Source::detect(&bytes, name.as_deref(), None, &hints), Ok);
        match source.and_then(|source| ingest::parse(source, &bytes, &hints, &limits)) {
            Ok(items) => given.extend(items.into_iter().map(|item| Given {
                job: item.job,
                file: shown.to_owned(),
                place: item.place,
            })),
            Err(error) => {
                mistakes.extend(error.fields().iter().map(|field| format!("{shown}: {field}")));
                if error.bad_more > 0 {
                    mistakes.push(format!("{shown}: and {} more", error.bad_more));
                }
            }
        }
    }
    if mistakes.is_empty() { Ok(given) } else { Err(refuse(&mistakes, 0).into()) }
}

/// The bytes of a file, or of standard input for `-`.
pub fn read(file: &str, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = bytes_max as u64 + 1;
    if file == "-" {
        if std::io::stdin().is_terminal() {
            eprintln!("reading from the terminal; end with Ctrl-D");
        }
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).context("cannot read standard input")?;
    } else {
        let open = std::fs::File::open(file);
        let open = open.map_err(|e| Fault::usage(format!("cannot read {file}: {e}")))?;
        open.take(limit)
            .read_to_end(&mut bytes)
            .map_err(|e| Fault::usage(format!("cannot read {file}: {e}")))?;
    }
    if bytes.len() > bytes_max {
        return Err(Fault::usage(format!("{file} has more than {bytes_max} bytes; split it")).into());
    }
    Ok(bytes)
}

/// Applies the general rules to every job. What only the templates know is checked where they are, and so is whether a
/// deadline has passed: the store's clock decides, and this machine's may be hours away from it.
pub fn check(given: &[Given]) -> anyhow::Result<()> {
    let now = bul_job::Timestamp::MIN_UTC;
    let limits = Limits::default();
    let mut mistakes = Vec::new();
    for one in given {
        match ValidJob::parse(one.job.clone(), now, &limits) {
            Ok(_) => {}
            Err(JobError::Fields(errors)) => mistakes.extend(errors.iter().map(|error| one.mistake(error))),
            Err(error @ (JobError::Syntax(_) | JobError::TooLarge { .. })) => {
                mistakes.push(one.mistake(&FieldError::new("", error.to_string())));
            }
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(refuse(&mistakes, 0).into()) }
}

/// What a server or store found wrong; pointers begin with the position among `given`.
pub fn refused(given: &[Given], errors: &[FieldError], accepted: usize) -> Fault {
    let mistakes: Vec<String> = errors
        .iter()
        .map(|error| {
            let rest = error.pointer.strip_prefix('/').unwrap_or_default();
            let (index, tail) =
                rest.split_once('/').map_or((rest, String::new()), |(i, t)| (i, format!("/{t}")));
            match index.parse::<usize>().ok().and_then(|index| given.get(index)) {
                Some(one) => one.mistake(&FieldError::new(tail, &error.message)),
                None => error.to_string(),
            }
        })
        .collect();
    refuse(&mistakes, accepted)
}

fn refuse(mistakes: &[String], accepted: usize) -> Fault {
    let what = match mistakes.len() {
        1 => "1 mistake".to_owned(),
        n => format!("{n} mistakes"),
    };
    let end = if accepted == 0 {
        "nothing was submitted".into()
    } else {
        format!("{accepted} jobs before it were accepted")
    };
    let mut message = format!("{what}, {end}");
    for mistake in mistakes.iter().take(MISTAKES_MAX) {
        message.push_str("\n  ");
        message.push_str(&super::print::clean(mistake));
    }
    if mistakes.len() > MISTAKES_MAX {
        message.push_str(&format!("\n  and {} more", mistakes.len() - MISTAKES_MAX));
    }
    Fault::usage(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(file: &str, place: &str) -> Given {
        Given { job: RawJob::default(), file: file.into(), place: place.into() }
    }

    #[test]
    fn mistakes_name_file_place_pointer_and_message() {
        let error = FieldError::new("/priority", "is wrong");
        assert_eq!(given("a.csv", "row 3").mistake(&error), "a.csv: row 3: /priority: is wrong");
        assert_eq!(given("a.json", "/2").mistake(&error), "a.json: /2/priority: is wrong");
        assert_eq!(given("a.json", "").mistake(&error), "a.json: /priority: is wrong");
        assert_eq!(given("", "").mistake(&error), "/priority: is wrong");
    }

    #[test]
    fn answers_of_a_server_find_their_file() {
        let all = [given("a.json", "/0"), given("b.csv", "row 9")];
        let fault = refused(&all, &[FieldError::new("/1/data/total", "must be a number")], 0);
        assert!(fault.message.ends_with("b.csv: row 9: /data/total: must be a number"), "{}", fault.message);
        assert!(
            refused(&all, &[FieldError::new("/7", "x")], 3)
                .message
                .contains("3 jobs before it were accepted")
        );
    }

    #[test]
    fn all_mistakes_are_found_before_anything_is_sent() {
        let wrong = RawJob { formats: Some(vec!["doc".into()]), max_attempts: Some(0), ..RawJob::default() };
        let fault = check(&[Given { job: wrong, file: "x.json".into(), place: "/4".into() }])
            .unwrap_err()
            .to_string();
        for part in
            ["3 mistakes, nothing was submitted", "x.json: /4/template", "/4/formats/0", "/4/max_attempts"]
        {
            assert!(fault.contains(part), "{fault}");
        }
    }
}

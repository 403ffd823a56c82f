//! Short ids: any beginning or end of an id that fits exactly one of the latest jobs.

use bul_job::{JobId, State};
use bul_store::{DeadFilter, JobFilter};

use super::Backend;
use super::print::cut;
use crate::exit::Fault;

/// How many of the latest jobs, or oldest dead letters, a short id is looked up among.
const AMONG: usize = 500;
/// Fewer characters would fit too many.
const CHARS_MIN: usize = 4;

/// The id that a text stands for.
pub async fn resolve(backend: &Backend, text: &str, dead_only: bool) -> anyhow::Result<JobId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let wanted = wanted(text)?;
    let ids: Vec<JobId> = if dead_only {
        let filter = DeadFilter { limit: AMONG, ..DeadFilter::default() };
        backend.dead_letters(&filter).await?.into_iter().map(|letter| letter.id).collect()
    } else {
        let filter = JobFilter { limit: AMONG, ..JobFilter::default() };
        backend.jobs(&filter).await?.into_iter().map(|job| job.id).collect()
    };
    Ok(choose(&wanted, &ids, if dead_only { State::Dead.as_str() } else { "latest" })?)
}

/// All of them, or the first that cannot be found.
pub async fn resolve_all(backend: &Backend, texts: &[String], dead_only: bool) -> anyhow::Result<Vec<JobId>> {
    let mut ids = Vec::new();
    for text in texts {
        ids.push(resolve(backend, text, dead_only).await?);
    }
    Ok(ids)
}

fn wanted(text: &str) -> Result<String, Fault> {
    let wanted: String = text.chars().filter(|c| *c != '-').collect::<String>().to_ascii_lowercase();
    if wanted.len() < CHARS_MIN || wanted.len() > 32 || !wanted.chars().all(|c| c.is_ascii_hexdigit()) {
        let message = format!("{:?} is no job id", cut(text, 64));
        let hint = format!("give the whole id, or at least {CHARS_MIN} characters of its beginning or end");
        return Err(Fault::usage(message).hint(hint));
    }
    Ok(wanted)
}

fn choose(wanted: &str, ids: &[JobId], kind: &str) -> Result<JobId, Fault> {
    let fits = |id: &&JobId| {
        let text = id.to_string().replace('-', "");
        text.starts_with(wanted) || text.ends_with(wanted)
    };
    let found: Vec<&JobId> = ids.iter().filter(fits).collect();
    match found.as_slice() {
        [only] => Ok(**only),
        [] => Err(Fault::not_found(format!("no job with the id {wanted:?} among the {AMONG} {kind} ones"))
            .hint("give the whole id, or look it up with: bul jobs list")),
        several => {
            let mut message = format!("{wanted:?} fits {} jobs:", several.len());
            several.iter().take(5).for_each(|id| message.push_str(&format!("\n  {id}")));
            Err(Fault::usage(message).hint("give more characters"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn beginnings_and_ends_that_fit_one_id_are_enough() {
        let ids: Vec<JobId> =
            ["0192f0c8-7b2e-7abc-8def-0123456789ab", "0192f0c8-7b2e-7abc-8def-aaaaaaaaaaaa"]
                .map(|id| id.parse().unwrap())
                .to_vec();
        assert_eq!(choose("89ab", &ids, "latest").unwrap(), ids[0]);
        assert_eq!(choose("0192f0c87b2e7abc8defa", &ids, "latest").unwrap(), ids[1]);
        assert_eq!(choose("0192", &ids, "latest").unwrap_err().exit, Exit::Usage);
        assert_eq!(choose("ffff", &ids, "latest").unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn what_is_no_id_is_said_to_be_none() {
        for bad in ["", "abc", "invoice", "../../x", &"a".repeat(40)] {
            assert_eq!(wanted(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
        assert_eq!(wanted("89AB-cd").unwrap(), "89abcd");
    }
}

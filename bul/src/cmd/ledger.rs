//! `bul ledger`: the conservation equation with real numbers, from one consistent view of the store.

use bul_job::{Counts, Ledger};

use crate::client::print::table;
use crate::context::Context;
use crate::exit::Exit;
use crate::wire;

/// Show where every job ever accepted is, per tenant.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads the store itself, with or without a server. Exits with 1 when the equation does not hold.\n\nExamples:\n  bul ledger\n  bul ledger -o json | jq .total.dead"
)]
pub struct Args {}

/// Prints the ledger; exit 1 when a job is missing or counted twice.
pub async fn run(_args: Args, context: &Context) -> anyhow::Result<Exit> {
    context.init_logs(false)?;
    let store = wire::open_store(context).await?;
    let ledger = store.ledger().await.map_err(crate::client::store_fault);
    store.close().await;
    let ledger = ledger?;
    context.print(&ledger, || text(&ledger))?;
    if ledger.balances() {
        return Ok(Exit::Done);
    }
    for (tenant, counts) in ledger.tenants.iter().filter(|(_, counts)| !counts.balances()) {
        eprintln!("error: the ledger of {tenant} does not balance: {}", equation(counts));
    }
    Ok(Exit::Failed)
}

fn text(ledger: &Ledger) -> String {
    let row = |name: &str, c: &Counts| {
        let numbers = [c.accepted, c.completed, c.cancelled, c.dead, c.waiting, c.queued, c.running];
        std::iter::once(name.to_owned()).chain(numbers.map(|n| n.to_string())).collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<String>> = ledger.tenants.iter().map(|(t, c)| row(t.as_str(), c)).collect();
    rows.push(row("total", &ledger.total));
    let head = ["TENANT", "ACCEPTED", "COMPLETED", "CANCELLED", "DEAD", "WAITING", "QUEUED", "RUNNING"];
    format!("{}\n{}\n", table(&head, &rows), equation(&ledger.total))
}

/// The equation of one line of the ledger.
/// The conservation equation with numbers.
pub fn equation(c: &Counts) -> String {
    let sign = if c.balances() { "=" } else { "≠" };
    format!(
        "{} accepted {sign} {} completed + {} cancelled + {} dead + ({} waiting + {} queued + {} running)",
        c.accepted, c.completed, c.cancelled, c.dead, c.waiting, c.queued, c.running
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_equation_shows_its_numbers_and_whether_it_holds() {
        let mut counts = Counts { accepted: 3, completed: 2, dead: 1, ..Counts::default() };
        assert!(equation(&counts).starts_with("3 accepted = 2 completed + 0 cancelled + 1 dead"));
        counts.accepted = 4;
        assert!(equation(&counts).starts_with("4 accepted ≠ "));
    }

    #[test]
    fn json_is_the_contract() {
        let value = serde_json::to_value(Ledger::default()).unwrap();
        assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["total", "tenants"]);
        let total: Vec<_> = value["total"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(total, ["accepted", "completed", "cancelled", "dead", "waiting", "queued", "running"]);
    }
}

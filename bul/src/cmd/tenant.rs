//! `bul tenant`: limits of tenants, always straight in the store.

use bul_job::{OwnLimits, TenantId};
use bul_store::{Store, TenantAccount};
use clap::Subcommand;

use crate::client::print::table;
use crate::client::store_fault;
use crate::context::Context;
use crate::exit::{Exit, Fault};
use crate::wire;

/// Limits of tenants: list, set.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Works on the store itself. Limits that are not set for a tenant are those of the configuration, section [limits].\n\nExamples:\n  bul tenant list\n  bul tenant set acme --running-max 4 --tokens-per-day 2000000\n  bul tenant set acme --running-max default"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Limits in force, and what each tenant has at work
    #[command(after_help = "Example:\n  bul tenant list -o json")]
    List,
    /// Set limits; those not named stay as they are
    ///
    /// Processes that run know within seconds. What runs already goes on to its end.
    #[command(after_help = "Example:\n  bul tenant set acme --running-max 4")]
    Set {
        /// Tenant
        name: String,
        /// Jobs with workers at the same time, over all processes: a number, 0 for no limit, or `default`
        #[arg(long, value_name = "N")]
        running_max: Option<Limit>,
        /// Jobs published and not yet begun, per lane: a number, 0 for no limit, or `default`
        #[arg(long, value_name = "N")]
        queued_max: Option<Limit>,
        /// Tokens per minute: a number, 0 for no limit, or `default`
        #[arg(long, value_name = "N")]
        tokens_per_minute: Option<Limit>,
        /// Tokens per day, UTC: a number, 0 for no limit, or `default`
        #[arg(long, value_name = "N")]
        tokens_per_day: Option<Limit>,
    },
}

/// A limit of the tenant's own, or the one for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit(Option<u64>);

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self(None));
        }
        // As much as a column of the store holds.
        let fits = |number: &u64| i64::try_from(*number).is_ok();
        let number = text.parse().ok().filter(fits);
        number.map(|number| Self(Some(number))).ok_or_else(|| "expected a number or `default`".into())
    }
}

impl Limit {
    fn small(self, flag: &str) -> Result<Option<u32>, Fault> {
        let small = |number: u64| i32::try_from(number).ok().and_then(|number| u32::try_from(number).ok());
        self.0
            .map(|number| small(number).ok_or_else(|| Fault::usage(format!("{flag}: {number} is too much"))))
            .transpose()
    }
}

/// Runs the command.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    context.init_logs(false)?;
    let store = wire::open_store(context).await?;
    let result = act(args.action, store.as_ref(), context).await;
    store.close().await;
    result
}

async fn act(action: Action, store: &dyn Store, context: &Context) -> anyhow::Result<Exit> {
    let accounts = store.tenant_limits().await.map_err(store_fault)?;
    let shown = match action {
        Action::List => accounts,
        Action::Set { name, running_max, queued_max, tokens_per_minute, tokens_per_day } => {
            let tenant: TenantId = name.parse().map_err(|e| Fault::usage(format!("tenant: {e}")))?;
            let before = accounts.iter().find(|account| account.tenant == tenant);
            let mut own = before.map_or_else(OwnLimits::default, |account| account.own);
            if let Some(limit) = running_max {
                own.running_max = limit.small("--running-max")?;
            }
            if let Some(limit) = queued_max {
                own.queued_max = limit.small("--queued-max")?;
            }
            if let Some(limit) = tokens_per_minute {
                own.tokens_per_minute = limit.0;
            }
            if let Some(limit) = tokens_per_day {
                own.tokens_per_day = limit.0;
            }
            store.set_tenant_limits(&tenant, &own).await.map_err(store_fault)?;
            let accounts = store.tenant_limits().await.map_err(store_fault)?;
            accounts.into_iter().filter(|account| account.tenant == tenant).collect()
        }
    };
    context.print(&shown, || text(&shown))?;
    Ok(Exit::Done)
}

fn text(accounts: &[TenantAccount]) -> String {
    if accounts.is_empty() {
        return "no tenant has had a job or has limits of its own".into();
    }
    let of = |used: u64, limit: u64| if limit == 0 { used.to_string() } else { format!("{used} of {limit}") };
    let row = |account: &TenantAccount| {
        let (limits, load) = (&account.limits, &account.load);
        let queued = load.queued.iter().sum::<u64>();
        vec![
            account.tenant.to_string(),
            of(load.running, limits.running_max.into()),
            match limits.queued_max {
                0 => queued.to_string(),
                max => format!("{queued}, {max} a lane"),
            },
            of(load.minute_tokens, limits.tokens_per_minute),
            of(load.day_tokens, limits.tokens_per_day),
            if account.own == OwnLimits::default() { "default" } else { "own" }.to_owned(),
        ]
    };
    let head = ["TENANT", "RUNNING", "QUEUED", "TOKENS/MINUTE", "TOKENS/DAY", "LIMITS"];
    table(&head, &accounts.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_the_usual_one() {
        let parse = |text: &str| text.parse::<Limit>();
        assert_eq!((parse("0"), parse("default")), (Ok(Limit(Some(0))), Ok(Limit(None))));
        assert!(parse("-1").is_err() && parse("").is_err() && parse("18446744073709551615").is_err());
        assert!(Limit(Some(1 << 40)).small("--running-max").is_err());
    }

    #[test]
    fn the_list_shows_use_beside_limit() {
        let mut account = TenantAccount {
            tenant: "acme".parse().unwrap(),
            own: OwnLimits { running_max: Some(4), ..OwnLimits::default() },
            limits: bul_job::TenantLimits { running_max: 4, ..Default::default() },
            load: bul_job::Load { running: 2, ..Default::default() },
        };
        account.load.queued[0] = 7;
        let shown = text(&[account]);
        assert!(shown.contains("2 of 4") && shown.contains("7, 10000 a lane"), "{shown}");
    }
}

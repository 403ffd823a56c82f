//! `bul key`: API keys, always straight in the store.
//!
//! Invariant: the secret is printed once, when it is made, and kept nowhere.

use bul_job::TenantId;
use bul_producer::auth::generate_key;
use bul_store::{ApiKey, Permission, Store};
use chrono::Utc;
use clap::{Subcommand, ValueEnum};

use crate::client::print::{pairs, relative, table};
use crate::client::store_fault;
use crate::context::Context;
use crate::exit::{Exit, Fault};
use crate::wire;

/// Longest name of a key.
const NAME_CHARS_MAX: usize = 100;

/// API keys: make, list, revoke.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Works on the store itself, so that the first key can be made before there is a server.\n\nExamples:\n  bul key create --name erp --permission submit\n  bul key list\n  bul key revoke 3f2a9c01d4e7"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it, this once
    #[command(
        after_help = "Example:\n  BUL_KEY=$(bul key create --name ci -o json | jq -r .key) bul submit event.json"
    )]
    Create {
        /// Name for people; stands in the audit
        #[arg(long)]
        name: String,
        /// Tenant it acts for
        #[arg(long, default_value = "default")]
        tenant: String,
        /// What it may do; each includes the ones before
        #[arg(long, value_enum, default_value = "submit")]
        permission: Granted,
    },
    /// All keys, without their secrets
    #[command(after_help = "Example:\n  bul key list -o json")]
    List,
    /// End a key
    ///
    /// A running server believes a key for a few seconds after that.
    #[command(after_help = "Example:\n  bul key revoke 3f2a9c01d4e7")]
    Revoke {
        /// Id from `bul key list`
        id: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Granted {
    /// See jobs and documents
    Read,
    /// Also submit and cancel jobs
    Submit,
    /// Also schedules and dead letters
    Operate,
}

impl From<Granted> for Permission {
    fn from(granted: Granted) -> Self {
        match granted {
            Granted::Read => Self::Read,
            Granted::Submit => Self::Submit,
            Granted::Operate => Self::Operate,
        }
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
    match action {
        Action::Create { name, tenant, permission } => {
            create(store, context, &name, &tenant, permission.into()).await
        }
        Action::List => {
            let keys = store.keys().await.map_err(store_fault)?;
            context.print(&keys, || list_text(&keys))?;
            Ok(Exit::Done)
        }
        Action::Revoke { id } => {
            store.revoke_key(&id).await.map_err(store_fault)?;
            context
                .print(&serde_json::json!({"id": id, "revoked": true}), || format!("key {id} is revoked"))?;
            Ok(Exit::Done)
        }
    }
}

async fn create(
    store: &dyn Store,
    context: &Context,
    name: &str,
    tenant: &str,
    permission: Permission,
) -> anyhow::Result<Exit> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.contains(char::is_control) {
        let message = format!("--name must be 1 to {NAME_CHARS_MAX} printable characters");
        return Err(Fault::usage(message).into());
    }
    let tenant: TenantId = tenant.parse().map_err(|e| Fault::usage(format!("--tenant: {e}")))?;
    let made = generate_key(name, tenant, permission, store.now());
    store.add_key(&made.key).await.map_err(store_fault)?;
    let mut shown = serde_json::to_value(&made.key)?;
    shown["key"] = serde_json::Value::String(made.text.clone());
    context.print(&shown, || {
        pairs(&[
            ("key", made.text.clone()),
            ("id", made.key.id.clone()),
            ("name", made.key.name.clone()),
            ("tenant", made.key.tenant.to_string()),
            ("permission", made.key.permission.as_str().to_owned()),
        ])
    })?;
    eprintln!("the key is shown this once; it cannot be read again");
    Ok(Exit::Done)
}

fn list_text(keys: &[ApiKey]) -> String {
    if keys.is_empty() {
        return "there are no keys; make one with: bul key create --name NAME".into();
    }
    let now = Utc::now();
    let row = |key: &ApiKey| {
        let state =
            key.revoked_at.map_or_else(|| "active".into(), |at| format!("revoked {}", relative(at, now)));
        vec![
            key.id.clone(),
            key.name.clone(),
            key.tenant.to_string(),
            key.permission.as_str().to_owned(),
            relative(key.created_at, now),
            state,
        ]
    };
    table(&["ID", "NAME", "TENANT", "PERMISSION", "MADE", "STATE"], &keys.iter().map(row).collect::<Vec<_>>())
}

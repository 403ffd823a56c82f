//! `bul migrate`: brings the store's schema up to date, which opening it does.

use crate::context::Context;
use crate::exit::Exit;
use crate::wire;

/// Bring the store's schema up to date.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Opening the store migrates it, so that this is only needed where the schema must be ready before the first process starts. Running it again changes nothing.\n\nExample:\n  BUL_STORE=sqlite:/var/lib/bul/bul.db bul migrate"
)]
pub struct Args {}

/// Opens, checks and closes the store.
pub async fn run(_args: Args, context: &Context) -> anyhow::Result<Exit> {
    context.init_logs(false)?;
    let store = wire::open_store(context).await?;
    let checked = store.check().await.map_err(crate::client::store_fault);
    let info = store.info();
    store.close().await;
    checked?;
    context.print(&info, || {
        format!("{} {}: the schema of {} is up to date", info.kind, info.version, info.location)
    })?;
    Ok(Exit::Done)
}

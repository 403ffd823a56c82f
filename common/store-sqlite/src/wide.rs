//! Statements over many rows: the number of statements is what costs, since each one crosses to the
//! thread of its connection and back.
//!
//! A template has one row of parameters, followed by three dots. It is written out for a few fixed
//! numbers of rows, so that SQLite prepares each once; what is left over goes into the next larger one,
//! whose other rows stay NULL. Invariant: a template does nothing for a row of NULLs.

use std::sync::{Arc, OnceLock};

use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, Type};

/// Rows of the prepared forms. The last, times the eighteen parameters of the widest row, must stay below
/// the 32,766 parameters that SQLite takes.
const SIZES: [usize; 5] = [1, 4, 16, 64, 256];

/// A statement in its forms.
pub(crate) struct Wide {
    template: &'static str,
    texts: [OnceLock<Arc<str>>; SIZES.len()],
}

/// Parameters in the making.
#[derive(Default)]
pub(crate) struct Binds {
    arguments: SqliteArguments,
    fault: Option<sqlx::error::BoxDynError>,
}

impl Binds {
    /// The next parameter.
    pub(crate) fn put<'v>(&mut self, value: impl Encode<'v, Sqlite> + Type<Sqlite>) -> &mut Self {
        if let Err(error) = Arguments::add(&mut self.arguments, value) {
            self.fault.get_or_insert(error);
        }
        self
    }
}

impl Wide {
    pub(crate) const fn new(template: &'static str) -> Self {
        Self { template, texts: [const { OnceLock::new() }; SIZES.len()] }
    }

    /// Runs it over all rows; how many rows of tables it has written.
    pub(crate) async fn execute<R: Sync>(
        &self,
        conn: &mut SqliteConnection,
        rows: &[R],
        bind: impl Fn(&R, &mut Binds) + Send,
    ) -> Result<u64, sqlx::Error> {
        let mut written = 0;
        for part in rows.chunks(LARGEST) {
            let (sql, arguments) = self.form(part, &bind)?;
            written += sqlx::query_with(sql, arguments).execute(&mut *conn).await?.rows_affected();
        }
        Ok(written)
    }

    /// Runs it over all rows; what it returns.
    pub(crate) async fn fetch<R: Sync>(
        &self,
        conn: &mut SqliteConnection,
        rows: &[R],
        bind: impl Fn(&R, &mut Binds) + Send,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut found = Vec::with_capacity(rows.len());
        for part in rows.chunks(LARGEST) {
            let (sql, arguments) = self.form(part, &bind)?;
            found.append(&mut sqlx::query_with(sql, arguments).fetch_all(&mut *conn).await?);
        }
        Ok(found)
    }

    fn form<R>(
        &self,
        part: &[R],
        bind: &impl Fn(&R, &mut Binds),
    ) -> Result<(AssertSqlSafe<Arc<str>>, SqliteArguments), sqlx::Error> {
        let mut binds = Binds::default();
        part.iter().for_each(|row| bind(row, &mut binds));
        match binds.fault {
            Some(error) => Err(sqlx::Error::Encode(error)),
            None => Ok((AssertSqlSafe(self.text(part.len())), binds.arguments)),
        }
    }

    /// The smallest form that holds so many rows.
    fn text(&self, rows: usize) -> Arc<str> {
        let form = SIZES.iter().position(|size| *size >= rows).unwrap_or(SIZES.len() - 1);
        self.texts[form].get_or_init(|| write_out(self.template, SIZES[form])).clone()
    }
}

const LARGEST: usize = SIZES[SIZES.len() - 1];

fn write_out(template: &str, rows: usize) -> Arc<str> {
    let (head, tail) = template.split_once("...").unwrap_or((template, ""));
    let start = head.rfind('(').unwrap_or(head.len());
    let (head, row) = head.split_at(start);
    format!("{head}{}{tail}", vec![row; rows].join(", ")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_repeats_the_row_before_the_dots() {
        let wide = Wide::new("INSERT INTO t (a, b) VALUES (?, ?)... RETURNING a");
        assert_eq!(&*wide.text(1), "INSERT INTO t (a, b) VALUES (?, ?) RETURNING a");
        assert_eq!(wide.text(3).matches("(?, ?)").count(), 4);
        assert_eq!(wide.text(256).matches("(?, ?)").count(), 256);
        assert_eq!(wide.text(2), wide.text(4));
    }

    /// A plan that walks through an index of all open jobs would make each set as slow as the store is
    /// full.
    #[tokio::test]
    async fn every_update_looks_its_rows_up_by_id() {
        let mut conn = crate::migrate::tests::memory().await;
        for template in [
            include_str!("../queries/begin.sql"),
            include_str!("../queries/complete.sql"),
            include_str!("../queries/save.sql"),
            include_str!("../queries/published.sql"),
            include_str!("../queries/load_jobs.sql"),
        ] {
            for rows in SIZES {
                let sql = format!("EXPLAIN QUERY PLAN {}", write_out(template, rows));
                let plan = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
                let plan: Vec<String> = plan.iter().map(|row| sqlx::Row::get(row, 3)).collect();
                let by_id = "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)";
                assert!(plan.iter().any(|step| step == by_id), "{plan:?}");
            }
        }
    }
}

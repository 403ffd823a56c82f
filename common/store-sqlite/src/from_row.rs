//! Structs that read themselves from a row, column by column, by the names of their fields.
//!
//! The derive of the same purpose would have every database driver compiled a second time for the build machine.

macro_rules! row {
    ($(#[$about:meta])* $visibility:vis struct $name:ident { $($(#[$note:meta])* $field:ident: $kind:ty),* $(,)? }) => {
        $(#[$about])*
        $visibility struct $name {
            $($(#[$note])* $field: $kind),*
        }

        impl<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> for $name {
            fn from_row(row: &'r sqlx::sqlite::SqliteRow) -> Result<Self, sqlx::Error> {
                Ok(Self { $($field: sqlx::Row::try_get(row, stringify!($field))?),* })
            }
        }
    };
}

pub(crate) use row;

//! Who keeps the database from removing dead rows.

use super::{Error, Store};

/// A transaction that sees the database as it was.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The server's process.
    pub pid: i32,
    /// What its client calls itself.
    pub application: String,
    /// Seconds since it began.
    pub open_secs: f64,
}

impl Store {
    /// The transaction with the oldest snapshot, as far as this user of the database may see it; none where none is older than a few seconds.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn oldest_snapshot(&self) -> Result<Option<Snapshot>, Error> {
        let row = sqlx::query!(
            r#"select pid as "pid!", coalesce(application_name, '') as "application!",
                extract(epoch from now() - xact_start)::double precision as "open_secs!"
            from pg_stat_activity
            where backend_xmin is not null and xact_start < now() - interval '5 seconds' and datname = current_database()
            order by age(backend_xmin) desc, pid
            limit 1"#
        );
        let row = row.fetch_optional(&self.pool).await?;
        Ok(row.map(|row| Snapshot { pid: row.pid, application: row.application, open_secs: row.open_secs }))
    }
}

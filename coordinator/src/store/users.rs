//! Who shares the workers.

use gauntlet_domain::share::{Quota, UserName, Weight};

use super::rows::{column, corrupt, unsigned};
use super::{Error, Store};

/// A user, with what he has in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// Who.
    pub name: String,
    /// Share beside other users.
    pub weight: u32,
    /// Tasks of all his sweeps that may run at once, where that is bounded.
    pub max_concurrent: Option<u32>,
    /// Tasks that are charged to him and run.
    pub running: u32,
    /// Tasks that are charged to him and ready.
    pub ready: u32,
    /// His sweeps.
    pub sweeps: u32,
}

impl Store {
    /// All users who have a sweep or terms of their own, by name; or this one alone.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn users(&self, only: Option<&UserName>) -> Result<Vec<UserRow>, Error> {
        let rows = sqlx::query!(
            r#"with charged as (
                select s.user_name, count(*) filter (where t.state = 'leased') as running, count(*) filter (where t.state = 'ready') as ready
                from tasks t join sweeps s using (queue_key)
                where t.state in ('leased', 'ready')
                group by s.user_name
            ), owned as (
                select user_name, count(*) as sweeps from sweeps where deleted_at is null group by user_name
            )
            select user_name as "user_name!", coalesce(u.weight, 1) as "weight!", u.max_concurrent as "max_concurrent?",
                coalesce(c.running, 0) as "running!", coalesce(c.ready, 0) as "ready!", coalesce(o.sweeps, 0) as "sweeps!"
            from owned o full join users u using (user_name) left join charged c using (user_name)
            where user_name = $1 or $1 is null
            order by user_name"#,
            only.map(UserName::as_str) as _
        );
        let mut users = Vec::new();
        for row in rows.fetch_all(&self.pool).await? {
            users.push(UserRow {
                name: row.user_name,
                weight: unsigned(row.weight)?,
                max_concurrent: row.max_concurrent.map(unsigned).transpose()?,
                running: unsigned(row.running)?,
                ready: unsigned(row.ready)?,
                sweeps: unsigned(row.sweeps)?,
            });
        }
        Ok(users)
    }

    /// Sets on what terms a user shares the workers; what is none stays, or is usual.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn set_user(&self, name: &UserName, weight: Option<Weight>, quota: Option<Quota>) -> Result<(), Error> {
        let weight = weight.map(|weight| column::<i32, _>(weight.get(), "a weight")).transpose()?;
        let most = quota.and_then(Quota::most);
        let most = most.map(|most| column::<i32, _>(most, "the most tasks at once")).transpose()?;
        let query = sqlx::query!(
            "insert into users as u (user_name, weight, max_concurrent) values ($1, coalesce($2, 1), $3)
            on conflict (user_name) do update set
                weight = coalesce($2, u.weight), max_concurrent = case when $4 then $3 else u.max_concurrent end",
            name.as_str(),
            weight,
            most,
            quota.is_some()
        );
        query.execute(&self.pool).await?;
        Ok(())
    }
}

/// A weight as its column holds it.
pub(super) fn weight(column: i32) -> Result<Weight, Error> {
    Weight::try_from(unsigned::<u32, _>(column)?).map_err(corrupt)
}

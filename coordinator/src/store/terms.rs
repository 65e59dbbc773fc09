//! On what terms sweeps share the workers.

use gauntlet_domain::share::{Terms, Weight};

use super::rows::column;
use super::{Error, Store};

/// Terms as columns hold them; what is none stays as it is.
pub(super) struct TermColumns {
    pub weight: Option<i32>,
    pub priority: Option<i32>,
    pub changes_quota: bool,
    pub max_concurrent: Option<i32>,
}

impl TermColumns {
    pub fn of(terms: &Terms) -> Result<Self, Error> {
        let most = terms.quota.and_then(|quota| quota.most());
        Ok(Self {
            weight: terms.weight.map(Weight::get).map(|weight| column(weight, "a weight")).transpose()?,
            priority: terms.priority,
            changes_quota: terms.quota.is_some(),
            max_concurrent: most.map(|most| column(most, "the most tasks at once")).transpose()?,
        })
    }
}

impl Store {
    /// Changes the terms of a sweep: from the next decision on, they are what counts.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn change_terms(&self, sweep: &str, terms: &Terms) -> Result<(), Error> {
        let TermColumns { weight, priority, changes_quota, max_concurrent } = TermColumns::of(terms)?;
        let query = sqlx::query!(
            "update sweeps set weight = coalesce($2, weight), priority = coalesce($3, priority),
                max_concurrent = case when $4 then $5 else max_concurrent end
            where sweep_id = $1",
            sweep,
            weight,
            priority,
            changes_quota,
            max_concurrent
        );
        query.execute(&self.pool).await?;
        Ok(())
    }
}

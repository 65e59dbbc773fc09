//! Quotas hold exactly, also where several coordinators claim at once: who claims of a queue with a quota, or for a user with one, holds its lock until his
//! transaction is over, and counts under it what runs.

use std::collections::BTreeSet;

use gauntlet_domain::Digest;
use gauntlet_domain::quota::Rooms;
use gauntlet_domain::schedule::QueueKey;
use gauntlet_domain::share::{Quota, UserName};

use super::Error;
use super::claim::ClaimFor;
use super::rows::{corrupt, unsigned};
use super::work::Work;

/// First part of the names of the locks of queues and of users.
const QUEUES: i32 = 0x6761_0001;
const USERS: i32 = 0x6761_0002;

impl Work {
    /// Those of these claims for which there is room. Claims without a quota cost nothing.
    pub async fn within_quotas<'a>(&mut self, claims: Vec<&'a ClaimFor>) -> Result<Vec<&'a ClaimFor>, Error> {
        let bounded = || claims.iter().filter_map(|claim| Some((claim.queue?, claim.bounded.as_ref()?)));
        let queues: BTreeSet<QueueKey> = bounded().map(|(queue, _)| queue).collect();
        if queues.is_empty() {
            return Ok(claims);
        }
        let users: BTreeSet<&UserName> = bounded().map(|(_, user)| user).collect();
        self.lock_quotas(&queues, &users).await?;
        let mut rooms = self.rooms(&queues).await?;
        Ok(claims.into_iter().filter(|claim| claim.queue.is_none_or(|queue| rooms.take(queue))).collect())
    }

    async fn lock_quotas(&mut self, queues: &BTreeSet<QueueKey>, users: &BTreeSet<&UserName>) -> Result<(), Error> {
        let queues = queues.iter().map(|queue| (QUEUES, queue.0));
        // In one order everywhere. Two users of one number wait for each other, and no more.
        let locks: BTreeSet<(i32, i32)> = queues.chain(users.iter().map(|user| (USERS, number_of(user)))).collect();
        let (kinds, numbers): (Vec<i32>, Vec<i32>) = locks.into_iter().unzip();
        let query = sqlx::query!(
            "select pg_advisory_xact_lock(kind, number) from unnest($1::integer[], $2::integer[]) as n (kind, number)",
            &kinds,
            &numbers
        );
        query.execute(&mut *self.tx).await?;
        Ok(())
    }

    async fn rooms(&mut self, queues: &BTreeSet<QueueKey>) -> Result<Rooms, Error> {
        let rows = sqlx::query!(
            r#"with running as (
                select queue_key, s.user_name, count(*) as tasks from tasks join sweeps s using (queue_key)
                where state = 'leased'
                group by queue_key, s.user_name
            )
            select s.queue_key as "queue_key!", s.user_name as "user_name!", s.max_concurrent as "max_concurrent?",
                u.max_concurrent as "user_max_concurrent?",
                coalesce((select r.tasks from running r where r.queue_key = s.queue_key), 0) as "running!",
                coalesce((select sum(r.tasks)::bigint from running r where r.user_name = s.user_name), 0) as "user_running!"
            from sweeps s left join users u using (user_name)
            where s.queue_key = any($1::integer[])"#,
            &queues.iter().map(|queue| queue.0).collect::<Vec<_>>()
        );
        let mut rooms = Rooms::default();
        for row in rows.fetch_all(&mut *self.tx).await? {
            let user: UserName = row.user_name.parse().map_err(corrupt)?;
            let of_queue = (quota(row.max_concurrent)?, unsigned(row.running)?);
            let of_user = (quota(row.user_max_concurrent)?, unsigned(row.user_running)?);
            rooms.add(QueueKey(row.queue_key), of_queue, &user, of_user);
        }
        Ok(rooms)
    }
}

/// A quota as its column holds it.
pub(super) fn quota(column: Option<i32>) -> Result<Quota, Error> {
    Ok(column.map(unsigned).transpose()?.and_then(Quota::of).unwrap_or_default())
}

fn number_of(user: &UserName) -> i32 {
    let digest = Digest::of(user.as_str().as_bytes());
    let [a, b, c, d, ..] = *digest.as_bytes();
    i32::from_be_bytes([a, b, c, d])
}

//! Artifacts leave the store when nothing refers to them any more.
//!
//! Whoever takes a reference away notes it (a trigger of migration 0014). What is found to be unreferenced is condemned, then a worker is told to delete
//! it, and when it has done so the artifact is deleted; the row stays for those who report it from before. Condemning and naming exclude each other by
//! the lock [`NAMING`], which reports that name artifacts hold shared: so no reference comes up unseen.

use std::collections::{BTreeMap, BTreeSet};

use gauntlet_domain::artifact::Departure;
use gauntlet_domain::{Digest, WorkerId};

use super::rows::{corrupt, digest, timestamp};
use super::work::Work;
use super::{Error, Store};

/// Name of the lock that reports hold shared which name artifacts.
const NAMING: i64 = 0x6761_756e_0002;
/// Artifacts that are looked at, or given to a worker, at once.
const BATCH: i64 = 500;

impl Store {
    /// Condemns what nothing refers to any more. Gives how many notes were dealt with.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn condemn_unreferenced(&self) -> Result<u64, Error> {
        let some = sqlx::query_scalar!(r#"select exists (select from unreferenced_artifacts) as "some!""#);
        if !some.fetch_one(&self.pool).await? {
            return Ok(0);
        }
        let mut work = self.begin().await?;
        sqlx::query!("select pg_advisory_xact_lock($1)", NAMING).execute(&mut *work.tx).await?;
        let noted = sqlx::query_scalar!(
            r#"with noted as (
                delete from unreferenced_artifacts
                where number in (select number from unreferenced_artifacts order by number limit $1)
                returning digest
            ), condemned as (
                insert into artifacts as a (digest, state)
                select distinct n.digest, 'condemned'::artifact_state from noted n
                where not exists (select from checkpoints c where c.digest = n.digest)
                    and not exists (select from training_checkpoints c where c.digest = n.digest)
                on conflict (digest) do update set state = 'condemned', changed_at = now() where a.state = 'deleted'
            )
            select count(*) as "count!" from noted"#,
            BATCH
        );
        let noted = noted.fetch_one(&mut *work.tx).await?;
        work.commit().await?;
        Ok(noted.unsigned_abs())
    }

    /// Gives some condemned artifacts to a worker's session, with the duty to delete them: also those that were given to a session that is over, or that
    /// this one was given a minute ago. None while the session has such a duty, or when it is over.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn order_deletion(&self, worker: &WorkerId, session: i64) -> Result<Vec<Digest>, Error> {
        let digests = sqlx::query_scalar!(
            r#"update artifacts a set state = 'deleting', worker_id = $1, session = $2, changed_at = now()
            from (
                select a.digest from artifacts a left join workers w using (worker_id)
                where (a.state = 'condemned' or (a.state = 'deleting' and (
                        w.worker_id is null or w.session <> a.session or w.lease_expires_at < now()
                        or (a.worker_id = $1 and a.session = $2 and a.changed_at < now() - interval '1 minute'))))
                    and exists (select from workers me where me.worker_id = $1 and me.session = $2 and me.lease_expires_at > now())
                    and not exists (
                        select from artifacts b
                        where b.state = 'deleting' and b.worker_id = $1 and b.session = $2 and b.changed_at >= now() - interval '1 minute'
                    )
                order by a.state, a.changed_at
                limit $3
                for update of a skip locked
            ) as due
            where a.digest = due.digest
            returning a.digest as "digest!: Vec<u8>""#,
            worker.as_str(),
            session,
            BATCH
        );
        digests.fetch_all(&self.pool).await?.into_iter().map(digest).collect()
    }

    /// Notes what a worker's session has deleted, and what it could not.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn artifacts_deleted(
        &self,
        worker: &WorkerId,
        session: i64,
        deleted: &[Digest],
        failed: &[Digest],
    ) -> Result<(), Error> {
        let query = sqlx::query!(
            "update artifacts set worker_id = null, session = null, changed_at = now(),
                state = case when digest = any($3::bytea[]) then 'deleted' else 'condemned' end::artifact_state
            where state = 'deleting' and worker_id = $1 and session = $2 and (digest = any($3::bytea[]) or digest = any($4::bytea[]))",
            worker.as_str(),
            session,
            &columns(deleted),
            &columns(failed)
        );
        query.execute(&self.pool).await?;
        Ok(())
    }

    /// Forgets artifacts that were deleted before any attempt began that still runs: nobody can report them from before.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn forget_deleted_artifacts(&self) -> Result<(), Error> {
        let query = sqlx::query!(
            "delete from artifacts
            where state = 'deleted' and changed_at < now() - interval '1 day'
                and changed_at < coalesce((select min(changed_at) from tasks where state = 'leased'), now())"
        );
        query.execute(&self.pool).await?;
        Ok(())
    }
}

impl Work {
    /// Which of these artifacts are on their way out, or gone. None of them is condemned until this transaction is over.
    pub async fn departures(&mut self, digests: &BTreeSet<Digest>) -> Result<BTreeMap<Digest, Departure>, Error> {
        if digests.is_empty() {
            return Ok(BTreeMap::new());
        }
        sqlx::query!("select pg_advisory_xact_lock_shared($1)", NAMING).execute(&mut *self.tx).await?;
        let rows = sqlx::query!(
            r#"select digest as "digest!: Vec<u8>", state::text as "state!", changed_at from artifacts
            where digest = any($1::bytea[]) order by digest for update"#,
            &columns(digests)
        );
        let mut departures = BTreeMap::new();
        for row in rows.fetch_all(&mut *self.tx).await? {
            let departure = match row.state.as_str() {
                "condemned" => Departure::Condemned,
                "deleting" => Departure::Deleting,
                "deleted" => Departure::Deleted(timestamp(row.changed_at)),
                other => return Err(corrupt(format_args!("the state `{other}` of an artifact"))),
            };
            departures.insert(digest(row.digest)?, departure);
        }
        Ok(departures)
    }

    /// These artifacts are there and stay.
    pub async fn keep_artifacts(&mut self, digests: &BTreeSet<Digest>) -> Result<(), Error> {
        if digests.is_empty() {
            return Ok(());
        }
        let query = sqlx::query!("delete from artifacts where digest = any($1::bytea[])", &columns(digests));
        query.execute(&mut *self.tx).await?;
        Ok(())
    }

    /// Nothing may refer to these artifacts.
    pub async fn note_unreferenced(&mut self, digests: &[Digest]) -> Result<(), Error> {
        if digests.is_empty() {
            return Ok(());
        }
        let query = sqlx::query!(
            "insert into unreferenced_artifacts (digest) select * from unnest($1::bytea[])",
            &columns(digests)
        );
        query.execute(&mut *self.tx).await?;
        Ok(())
    }
}

fn columns<'a>(digests: impl IntoIterator<Item = &'a Digest>) -> Vec<Vec<u8>> {
    digests.into_iter().map(|digest| digest.as_bytes().to_vec()).collect()
}

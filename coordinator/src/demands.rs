//! What the tasks that wait need of a worker, as far as it was learnt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use gauntlet_domain::forecast::{Basis, DeviceKind};
use gauntlet_domain::schedule::{Demand, DemandKey};

use crate::store::{DemandRow, Error, Learnt, Store};

/// What is known of demands, as last read.
#[derive(Debug, Default)]
pub struct Demands {
    rows: BTreeMap<DemandKey, DemandRow>,
    learnt: Learnt,
    learnt_at: Option<Instant>,
}

impl Demands {
    /// What these demands are on devices of these kinds. What was learnt is read again when it is older than `age`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn of(
        &mut self,
        keys: &BTreeSet<DemandKey>,
        kinds: &BTreeSet<DeviceKind>,
        age: Duration,
        store: &Store,
    ) -> Result<BTreeMap<DemandKey, Demand>, Error> {
        if self.learnt_at.is_none_or(|at| at.elapsed() > age) {
            self.learnt = store.learnt().await?;
            self.learnt_at = Some(Instant::now());
            self.rows.retain(|key, _| keys.contains(key));
        }
        let unknown: BTreeSet<DemandKey> =
            keys.iter().filter(|key| key.0 != 0 && !self.rows.contains_key(key)).copied().collect();
        if !unknown.is_empty() {
            self.rows.extend(store.demands(&unknown).await?.into_iter().map(|row| (row.key, row)));
        }
        let demand = |key: &DemandKey| Some((*key, self.demand(self.rows.get(key)?, kinds)));
        Ok(keys.iter().filter_map(demand).collect())
    }

    fn demand(&self, row: &DemandRow, kinds: &BTreeSet<DeviceKind>) -> Demand {
        let mut demand = Demand {
            min_memory_mib: row.min_memory_mib,
            data: row.data.as_deref().map(Into::into),
            ..Demand::default()
        };
        let Some(work) = &row.work else { return demand };
        for kind in kinds {
            let (secs_per_cost, basis) = self.learnt.rates.secs_per_cost(kind, Some(work));
            // A guess is no reason to keep work from a worker.
            if basis != Basis::Guess {
                demand.secs_per_cost.insert(kind.clone(), secs_per_cost);
            }
            if let Some(peak) = self.learnt.peaks.get(&(kind.clone(), work.clone())) {
                demand.peak_memory_mib.insert(kind.clone(), *peak);
            }
        }
        demand
    }
}

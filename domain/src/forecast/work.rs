//! What rates are learnt for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::experiment::{ImageShape, ModelSpec, TaskSpec};

/// Work that is expected to take the same time per unit of cost on the same device. Written `attack pgd/resnet18/3x32x32`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Work {
    /// `train`, `attack` or `analyze`, and the method of the recipe, attack or analysis.
    pub method: String,
    /// The network, with its width where that was chosen.
    pub backbone: String,
    /// Channels × height × width.
    pub image: String,
}

impl Work {
    /// What a task is. A shard is the same work as its whole.
    pub fn of(spec: &TaskSpec) -> Self {
        let work = |method: String, model: &ModelSpec, image: ImageShape| Self {
            method,
            backbone: model.network_name(),
            image: format!("{}x{}x{}", image.channels, image.height, image.width),
        };
        match spec {
            TaskSpec::Train(spec) => work(format!("train {}", spec.recipe.method()), &spec.model, spec.dataset.image),
            TaskSpec::Attack(spec) => {
                work(format!("attack {}", spec.attack.method.name()), &spec.model, spec.dataset.image)
            }
            TaskSpec::Analyze(spec) => work(format!("analyze {}", spec.method.name()), &spec.model, spec.dataset.image),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.method, self.backbone, self.image)
    }
}

/// A text that names no work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no work: expected METHOD/BACKBONE/IMAGE")]
pub struct InvalidWork(String);

impl FromStr for Work {
    type Err = InvalidWork;

    fn from_str(text: &str) -> Result<Self, InvalidWork> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [method, backbone, image] => {
                Ok(Self { method: (*method).into(), backbone: (*backbone).into(), image: (*image).into() })
            }
            _ => Err(InvalidWork(text.to_owned())),
        }
    }
}

/// A kind of device, as far as speed goes: `cpu/2` is a CPU with two threads per executor, `cuda` any GPU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceKind(String);

impl DeviceKind {
    /// The kind of a device of this name (`cpu`, `cuda:1`) with so many threads per executor.
    pub fn of(name: &str, threads: u32) -> Self {
        match name.split(':').next().unwrap_or(name) {
            "cpu" => Self(format!("cpu/{}", threads.max(1))),
            other => Self(other.to_owned()),
        }
    }

    /// The kind whose name stands in a table.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The kind of a worker whose slots take turns on devices of these kinds: their own, where they are all of one.
    pub fn of_worker(devices: impl IntoIterator<Item = Self>) -> Self {
        let mut kinds: Vec<String> = devices.into_iter().map(|kind| kind.0).collect();
        kinds.sort();
        kinds.dedup();
        if kinds.is_empty() { Self::of("cpu", 1) } else { Self(kinds.join("+")) }
    }

    /// The name in tables and messages.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Seconds per unit of cost where nothing was ever learnt: what a core of 2020, or a GPU of that time, needs.
    pub fn usual_secs_per_cost(&self) -> f64 {
        const CORE: f64 = 0.05;
        const GPU: f64 = 0.002;
        match self.0.strip_prefix("cpu/").map(|threads| threads.parse::<u32>()) {
            // Threads pay less and less.
            Some(Ok(threads)) => CORE / f64::from(threads.max(1)).powf(0.8),
            _ if self.0.starts_with("cpu") => CORE,
            _ => GPU,
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_read_back_as_it_was_written() {
        let work = Work { method: "attack pgd".into(), backbone: "resnet18".into(), image: "3x32x32".into() };
        assert_eq!(work.to_string().parse::<Work>().unwrap(), work);
        assert!("attack pgd".parse::<Work>().is_err());
    }

    #[test]
    fn devices_are_told_apart_by_what_makes_them_faster() {
        assert_eq!(DeviceKind::of("cpu", 4).name(), "cpu/4");
        assert_eq!(DeviceKind::of("cuda:3", 4).name(), "cuda");
        let mixed = [DeviceKind::of("cuda:0", 1), DeviceKind::of("cpu", 1), DeviceKind::of("cuda:1", 1)];
        assert_eq!(DeviceKind::of_worker(mixed).name(), "cpu/1+cuda");
        let [one, four, gpu] =
            [("cpu", 1), ("cpu", 4), ("cuda:0", 1)].map(|(name, n)| DeviceKind::of(name, n).usual_secs_per_cost());
        assert!(one > four && four > gpu && one < 4.0 * four);
    }
}

//! Devices: their names, and whether they work.

use std::fmt;
use std::str::FromStr;

use tch::{Cuda, Device, Kind, Tensor};

use crate::error::LabError;

/// Version of the libtorch this crate was built against.
pub const LIBTORCH_VERSION: &str = env!("GAUNTLET_LIBTORCH_VERSION");

/// A device as users write it: `cpu`, `cuda:0`.
///
/// CUDA goes through the same code as the CPU; no test of this project has run on a CUDA device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceName {
    /// The CPU.
    #[default]
    Cpu,
    /// The CUDA device of this index.
    Cuda(u32),
}

/// A text that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a device: expected `cpu` or `cuda:N`")]
pub struct InvalidDevice(String);

impl DeviceName {
    /// libtorch's handle of it.
    pub const fn device(self) -> Device {
        match self {
            Self::Cpu => Device::Cpu,
            Self::Cuda(index) => Device::Cuda(index as usize),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("cuda:") {
            Some(index) => index.parse().map(Self::Cuda).map_err(|_| InvalidDevice(text.to_owned())),
            None if text == "cpu" => Ok(Self::Cpu),
            None => Err(InvalidDevice(text.to_owned())),
        }
    }
}

/// What a device said when it was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The device.
    pub device: DeviceName,
    /// Version of libtorch.
    pub libtorch: &'static str,
    /// Threads of one operation.
    pub threads: u32,
    /// Whether libtorch was built with oneDNN, without which convolutions on a CPU are slow.
    pub onednn: bool,
}

/// Tries a device with a small multiplication.
///
/// # Errors
/// A device that is absent or computes nonsense.
pub fn probe(device: DeviceName) -> Result<Probe, LabError> {
    if let DeviceName::Cuda(index) = device {
        let count = Cuda::device_count();
        if i64::from(index) >= count {
            return Err(LabError::Spec(format!("device `{device}` is not there: libtorch sees {count} CUDA devices")));
        }
    }
    let matrix = Tensor::f_from_slice(&[1f32, 2.0, 3.0, 4.0])?.f_view([2, 2])?.f_to_device(device.device())?;
    let sum = matrix.f_matmul(&matrix)?.f_sum(Kind::Float)?.f_double_value(&[])?;
    if (sum - 54.0).abs() > 1e-6 {
        return Err(LabError::Torch(format!(
            "`{device}` multiplied two small matrices wrongly: sum {sum} instead of 54"
        )));
    }
    let threads = u32::try_from(tch::get_num_threads()).unwrap_or(1);
    Ok(Probe { device, libtorch: LIBTORCH_VERSION, threads, onednn: tch::utils::has_mkldnn() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_read_and_written_alike() {
        for name in ["cpu", "cuda:0", "cuda:11"] {
            assert_eq!(name.parse::<DeviceName>().unwrap().to_string(), name);
        }
        assert_eq!(
            "gpu".parse::<DeviceName>().unwrap_err().to_string(),
            "`gpu` is not a device: expected `cpu` or `cuda:N`"
        );
    }

    #[test]
    fn the_cpu_multiplies() {
        assert!(probe(DeviceName::Cpu).is_ok());
    }
}

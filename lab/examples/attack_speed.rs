//! How fast attacks are: one model, one set of images, one attack after the other, each told as a line of JSON.
//!
//! `scripts/bench/attacks.py` makes the model and the images, runs this beside the peers, and compares.
#![allow(clippy::unwrap_used, reason = "a measurement may stop at once")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use gauntlet_data::{Images, read_checkpoint};
use gauntlet_domain::experiment::{AttackConfig, CheckpointFormat, ImageShape, ModelSpec};
use gauntlet_lab::Examples;
use gauntlet_lab::attacks::{Aids, Evaluation, evaluate};
use gauntlet_lab::models::{Model, Parameters};
use safetensors::SafeTensors;
use serde::Deserialize;
use tch::{Device, Tensor};

/// What is measured.
#[derive(Deserialize)]
struct Job {
    model: ModelSpec,
    checkpoint: PathBuf,
    /// `images` u8 \[N,C,H,W\] and `labels` i64 \[N\].
    examples: PathBuf,
    threads: i32,
    batch_size: usize,
    seed: u64,
    attacks: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    config: AttackConfig,
}

fn main() {
    let path = std::env::args().nth(1).expect("the path of a job in JSON");
    let job: Job = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    tch::set_num_threads(job.threads);
    let (model, examples) = (model(&job), examples(&job));
    for Named { name, config } in &job.attacks {
        let evaluation = Evaluation {
            model: &model,
            examples: &examples,
            attack: config,
            aids: Aids::default(),
            seed: job.seed,
            batch_size: job.batch_size,
            keep_images: false,
        };
        let start = Instant::now();
        let result = evaluate(&evaluation, &mut |_| ()).unwrap().result;
        let line = serde_json::json!({
            "name": name,
            "seconds": start.elapsed().as_secs_f64(),
            "examples": result.outcomes.examples(),
            "clean_correct": result.outcomes.clean_correct(),
            "robust_correct": result.outcomes.robust_correct(),
            "model_queries": result.model_queries,
            "peak_memory_mib": peak_memory_mib(),
        });
        println!("{line}");
    }
}

fn model(job: &Job) -> Model {
    let tensors = read_checkpoint(&job.checkpoint, CheckpointFormat::SafeTensors).unwrap();
    let tensors: BTreeMap<String, Tensor> = tensors
        .into_iter()
        .map(|tensor| {
            let size: Vec<i64> = tensor.shape.iter().map(|length| *length as i64).collect();
            (tensor.name, Tensor::from_slice(&tensor.values).view(size.as_slice()))
        })
        .collect();
    Model::new(&job.model, Parameters::new(tensors).frozen(), Device::Cpu).unwrap()
}

fn examples(job: &Job) -> Examples {
    let bytes = std::fs::read(&job.examples).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let images = file.tensor("images").unwrap();
    let labels = file.tensor("labels").unwrap();
    let labels = labels.data().chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as u32);
    let [_, channels, height, width] = images.shape()[..] else { panic!("images of shape {:?}", images.shape()) };
    let shape = ImageShape { channels: channels as u32, height: height as u32, width: width as u32 };
    let images = Images { pixels: images.data().to_vec(), labels: labels.collect(), shape };
    Examples::from_images(&images, job.model.classes, Device::Cpu).unwrap()
}

/// Largest resident set so far.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

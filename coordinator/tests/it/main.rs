//! The coordinator through its real gRPC interface and on a real Postgres, with workers that follow a script.

#![allow(clippy::unwrap_used)] // a test may stop at once

mod house;
mod sweep_files;
mod worker;

mod adaptive;
mod analyses;
mod artifacts;
mod batches;
mod cancellation;
mod cascade;
mod constructions;
mod cuts;
mod deletion;
mod failures;
mod fairness;

mod forecasts;
mod masking;
mod migrations;
mod minimum_norm;
mod outages;
mod pauses;
mod placement;
mod protocol;
mod reading;
mod restarts;
mod several;
mod shards;
mod submission;
mod users;
mod zombies;

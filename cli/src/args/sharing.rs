//! Arguments about who shares the workers, and about sweeps that are paused or deleted.

use clap::{Args as ClapArgs, Subcommand};
use gauntlet_domain::share::UserName;
use gauntlet_proto::v1;

use super::{ListArgs, ListFormat, SweepArgs};

#[derive(Debug, ClapArgs)]
pub struct ChargeArgs {
    /// Whose sweep it is: users share the workers equally [default: the login name].
    #[arg(long, env = "GAUNTLET_USER", value_name = "NAME")]
    pub user: Option<String>,
    /// Share beside sweeps of the same user and priority, 1 to 1000 [default: 1].
    #[arg(long, value_name = "N")]
    pub weight: Option<u32>,
    /// Sweeps of higher priority go before other sweeps of the same user [default: 0].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub priority: Option<i32>,
    #[command(flatten)]
    pub quota: QuotaArgs,
    /// Stop tasks of sweeps of lower priority at a checkpoint if the tasks of this one find no free slot. Of another user only what he has beyond his
    /// fair share.
    #[arg(long)]
    pub preempt: bool,
    /// Run its tasks only on workers with this label, as given with `gauntlet worker --label`; may be repeated.
    #[arg(long = "require", value_name = "KEY=VALUE", value_parser = label)]
    pub required_labels: Vec<(String, String)>,
    /// Memory that each of its tasks gets on its device [default: the most that such tasks were seen to take, and 15 % more].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub memory_mib: Option<u32>,
}

#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct QuotaArgs {
    /// Tasks of the sweep that may run at once [default: as many as there is room for].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrent: Option<u32>,
    /// As many as there is room for, whatever was said before.
    #[arg(long, conflicts_with = "max_concurrent")]
    pub no_max_concurrent: bool,
}

/// A label such as `zone=a`.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

impl ChargeArgs {
    /// The submission of a sweep on these terms.
    pub fn request(&self, source: v1::SweepSource) -> v1::SubmitSweepRequest {
        let Self { user, weight, priority, quota, preempt, required_labels, memory_mib } = self;
        // A login name may be no name of a user here, and nobody asked for it.
        let login = || std::env::var("USER").ok().filter(|name| name.parse::<UserName>().is_ok());
        v1::SubmitSweepRequest {
            source: Some(source),
            user: user.clone().or_else(login).unwrap_or_default(),
            weight: *weight,
            priority: *priority,
            max_concurrent: quota.max_concurrent,
            no_max_concurrent: quota.no_max_concurrent,
            preempts: preempt.then_some(true),
            required_labels: required_labels.iter().cloned().collect(),
            memory_mib: *memory_mib,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub struct DeleteArgs {
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// Stop it first if it has not ended; otherwise that is refused.
    #[arg(long)]
    pub cancel: bool,
}

#[derive(Debug, ClapArgs)]
pub struct PauseArgs {
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// Hand back what runs for this sweep alone, at a checkpoint, instead of finishing it.
    #[arg(long)]
    pub now: bool,
}

#[derive(Debug, ClapArgs)]
#[group(id = "terms", multiple = true, required = true, args = ["priority", "weight", "max_concurrent", "no_max_concurrent"])]
pub struct PrioritizeArgs {
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// Sweeps of higher priority go before other sweeps of the same user.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub priority: Option<i32>,
    /// Share beside sweeps of the same user and priority, 1 to 1000.
    #[arg(long, value_name = "N")]
    pub weight: Option<u32>,
    #[command(flatten)]
    pub quota: QuotaArgs,
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct UsersArgs {
    #[command(subcommand)]
    pub command: Option<UsersCommand>,
    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// Set on what terms a user shares the workers, whether he has come or not.
    Set(SetUserArgs),
}

#[derive(Debug, ClapArgs)]
#[group(id = "user_terms", multiple = true, required = true, args = ["weight", "max_concurrent", "no_max_concurrent"])]
pub struct SetUserArgs {
    /// The user.
    pub name: String,
    /// Share beside other users, 1 to 1000; twice the weight, twice the slots.
    #[arg(long, value_name = "N")]
    pub weight: Option<u32>,
    /// Tasks of all his sweeps that may run at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrent: Option<u32>,
    /// As many as there is room for, whatever was said before.
    #[arg(long, conflicts_with = "max_concurrent")]
    pub no_max_concurrent: bool,
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
}

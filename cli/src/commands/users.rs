//! `gauntlet users`: who shares the workers, and on what terms.

use std::process::ExitCode;

use comfy_table::{CellAlignment, Table};
use gauntlet_proto::v1;
use serde::Serialize;

use super::connection::Connection;
use crate::args::{Global, ListFormat, SetUserArgs, UsersArgs, UsersCommand};
use crate::client::refused;
use crate::render::tables;

/// Lists the users, or sets the terms of one.
///
/// # Errors
/// The coordinator does not answer, or the terms make no sense.
pub async fn users(global: &Global, args: &UsersArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        Some(UsersCommand::Set(set)) => set_user(global, set).await,
        None => {
            let mut connection = Connection::to_any(global).await?;
            let answer = connection.client.fleet.list_users(v1::ListUsersRequest {}).await;
            connection.close().await;
            print_users(&answer.map_err(refused)?.into_inner().users, args.list.format)
        }
    }
}

async fn set_user(global: &Global, args: &SetUserArgs) -> anyhow::Result<ExitCode> {
    let SetUserArgs { name, weight, max_concurrent, no_max_concurrent, format } = args;
    let request = v1::SetUserRequest {
        user: name.clone(),
        weight: *weight,
        max_concurrent: *max_concurrent,
        no_max_concurrent: *no_max_concurrent,
    };
    let mut connection = Connection::to_any(global).await?;
    let answer = connection.client.fleet.set_user(request).await;
    connection.close().await;
    print_users(&[answer.map_err(refused)?.into_inner()], *format)
}

#[derive(Serialize)]
struct Listed<'a> {
    user: &'a str,
    weight: u32,
    max_concurrent: Option<u32>,
    sweeps: u32,
    running: u32,
    ready: u32,
}

fn listed(user: &v1::User) -> Listed<'_> {
    let v1::User { user, weight, max_concurrent, running, ready, sweeps } = user;
    let (weight, max_concurrent) = (*weight, *max_concurrent);
    Listed { user, weight, max_concurrent, sweeps: *sweeps, running: *running, ready: *ready }
}

fn print_users(users: &[v1::User], format: ListFormat) -> anyhow::Result<ExitCode> {
    let rows: Vec<Listed<'_>> = users.iter().map(listed).collect();
    match format {
        ListFormat::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
        ListFormat::Table => println!("{}", table(&rows)),
    }
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Listed<'_>]) -> Table {
    let mut table = tables::new(&["user", "weight", "at once", "sweeps", "running", "ready"]);
    for row in rows {
        table.add_row([
            row.user.to_owned(),
            row.weight.to_string(),
            row.max_concurrent.map_or_else(|| "any".to_owned(), |most| most.to_string()),
            row.sweeps.to_string(),
            row.running.to_string(),
            row.ready.to_string(),
        ]);
    }
    tables::align(&mut table, CellAlignment::Right, &[1, 2, 3, 4, 5]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_listed_with_their_terms_and_what_they_have_in_hand() {
        let user = |user: &str, weight, max_concurrent| v1::User {
            user: user.to_owned(),
            weight,
            max_concurrent,
            running: 3,
            ready: 120,
            sweeps: 2,
        };
        let users = [user("ada", 2, None), user("bob@lab.example", 1, Some(8))];
        insta::assert_snapshot!(table(&users.iter().map(listed).collect::<Vec<_>>()));
    }
}

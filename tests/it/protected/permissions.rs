//! The tables of docs/security.md, as permissions.

use dev::{Acl, Acls, Operation, Resource};

use crate::worker::deployment::Deployment;

const PAGE: &str = include_str!("../../../docs/security.md");

/// The line above the table of what `run` needs.
pub(super) const RUN: &str = "For `run`,";
/// The line above the table of what reading outputs needs.
pub(super) const READ: &str = "In addition for `session`";
/// The line above the table of what `topics apply` needs.
pub(super) const APPLY: &str = "In addition for `topics apply`";

/// One row: kind of resource, its name, one operation.
type Row = (String, String, Operation);

/// The rows of the table below the line that begins with `head`, without their titles.
fn table(head: &str) -> Vec<Vec<String>> {
    let lines = PAGE.lines().skip_while(|line| !line.starts_with(head));
    let rows = lines
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2);
    let cells = |row: &str| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    assert!(
        !rows.is_empty(),
        "docs/security.md has no table below {head}"
    );
    rows
}

fn rows(head: &str) -> Vec<Row> {
    let rows = table(head).into_iter().flat_map(|row| {
        let [kind, name, operations] = row.try_into().expect("three columns");
        let operations: Vec<_> = operations.split(", ").map(operation).collect();
        operations
            .into_iter()
            .map(move |operation| (kind.clone(), name.trim_matches('`').to_owned(), operation))
    });
    rows.collect()
}

fn operation(name: &str) -> Operation {
    match name {
        "Read" => Operation::Read,
        "Write" => Operation::Write,
        "Create" => Operation::Create,
        "Alter" => Operation::Alter,
        "AlterConfigs" => Operation::AlterConfigs,
        "DescribeConfigs" => Operation::DescribeConfigs,
        name => panic!("docs/security.md names the operation {name}"),
    }
}

/// Gives `user` the permissions of one table, under the deployment's own names.
pub(super) async fn grant(acls: &Acls, deployment: &Deployment, user: &str, head: &str) {
    let rows: Vec<Row> = rows(head)
        .into_iter()
        .map(|(kind, name, operation)| {
            let name = match kind.as_str() {
                "topic" => deployment.topic(&name),
                _ => format!("worker-{}", deployment.name),
            };
            (kind, name, operation)
        })
        .collect();
    let acls_of_rows: Vec<_> = rows
        .iter()
        .map(|(kind, name, operation)| Acl {
            user,
            resource: match kind.as_str() {
                "topic" => Resource::Topic(name),
                "group" => Resource::Group(name),
                "cluster" => Resource::Cluster,
                kind => panic!("docs/security.md names the resource {kind}"),
            },
            operation: *operation,
        })
        .collect();
    acls.grant(&acls_of_rows).await.expect("ACLs are granted");
}

/// What the worker's role may do with its collections.
pub(super) fn database_actions() -> Vec<String> {
    let rows = table("The worker needs this role");
    let actions = rows[0].last().expect("a column");
    let actions: Vec<_> = actions.split(", ").map(str::to_owned).collect();
    // The command to copy says the same.
    let copied = actions.iter().map(|action| format!("{action:?}"));
    let copied = copied.collect::<Vec<_>>().join(", ");
    assert!(PAGE.contains(&format!("actions: [{copied}]")), "{copied}");
    actions
}

//! deploy/rights/postgres.sql: a host works with these rights, and could not do more.

use std::path::Path;

use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, samples};

#[test]
fn a_host_works_with_the_rights_of_the_script_and_has_no_others() {
    let mut case = Case::new("rights");
    let role = case.name.clone();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rights/postgres.sql");
    let script = std::fs::read_to_string(file).expect("the script");
    // Roles belong to the whole server: this one to the test alone.
    let script = script
        .replace("ROLE wasmill", &format!("ROLE {role}"))
        .replace("AUTHORIZATION wasmill", &format!("AUTHORIZATION {role}"));
    case.database.execute(&script.replace("TO wasmill", &format!("TO {role}")));
    case.database.execute("CREATE TABLE secrets (a text); INSERT INTO secrets VALUES ('x')");
    case.postgres_url = case.database.url_as(&role, "change-me");

    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    kafka::produce(&[Outgoing::to(&topic).value(samples::quote_json("D'oh!", "Homer", ""))]);
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(case.database.column("SELECT quotes FROM quotes"), ["D'oh!"]);
    assert_eq!(host.stop().code, 0);
    let may = format!(
        "SELECT has_table_privilege('{role}', 'secrets', 'SELECT') OR rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = '{role}'"
    );
    assert_eq!(case.database.column(&may), ["f"]);
    case.database.execute(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
}

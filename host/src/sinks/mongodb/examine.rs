//! Which server it is, and whether its user may write what the flows write.

use mongodb::bson::{Bson, Document, rawdoc};

use super::plan::Namespace;
use super::server::{CallError, Server};
use crate::sinks::{Examined, Lack};

/// Looks at the server and at what its user may do to these collections.
pub(super) async fn examine(server: &Server, collections: &[Namespace]) -> Result<Examined, CallError> {
    let info = server.run("admin", rawdoc! { "buildInfo": 1 }).await?;
    let version = info.get_str("version").unwrap_or("of unknown version");
    let product = match ferretdb(&info) {
        Some(own) => format!("FerretDB {own}, which speaks as MongoDB {version}"),
        None => format!("MongoDB {version}"),
    };
    // A server that does not tell rights is found out by the first write, which names what is missing.
    let told = server.run("admin", rawdoc! { "connectionStatus": 1, "showPrivileges": true }).await;
    let lacks = told.map(|status| lacks(&status, collections)).unwrap_or_default();
    Ok(Examined { product, lacks })
}

/// The version of FerretDB itself: version 1 and version 2 say it in different places.
pub(super) fn ferretdb(info: &Document) -> Option<&str> {
    let nested = info.get_document("ferretdb").ok().and_then(|own| own.get_str("version").ok());
    nested.or_else(|| info.get_str("ferretdbVersion").ok())
}

fn lacks(status: &Document, collections: &[Namespace]) -> Vec<Lack> {
    let Ok(auth) = status.get_document("authInfo") else { return Vec::new() };
    let users = auth.get_array("authenticatedUsers").map_or(0, Vec::len);
    let Ok(privileges) = auth.get_array("authenticatedUserPrivileges") else { return Vec::new() };
    if users == 0 {
        // Without access control everybody may do everything; with it, nothing would have been answered.
        return Vec::new();
    }
    let privileges: Vec<&Document> = privileges.iter().filter_map(Bson::as_document).collect();
    let missing = collections.iter().filter(|name| !privileges.iter().any(|privilege| allows(privilege, name)));
    let lack = |name: &Namespace| {
        let database = &name.database;
        Lack::new(
            format!("documents may not be inserted into {name}"),
            format!("db.grantRolesToUser(USER, [{{ role: \"readWrite\", db: \"{database}\" }}])"),
        )
    };
    missing.map(lack).collect()
}

/// Whether a privilege covers inserting into the collection; an empty name stands for all.
fn allows(privilege: &Document, name: &Namespace) -> bool {
    let Ok(resource) = privilege.get_document("resource") else { return false };
    let covers = |field: &str, wanted: &str| resource.get_str(field).is_ok_and(|it| it.is_empty() || it == wanted);
    let any = resource.get_bool("anyResource").unwrap_or(false);
    let actions = privilege.get_array("actions").into_iter().flatten().filter_map(Bson::as_str);
    let inserts = actions.into_iter().any(|action| action == "insert" || action == "anyAction");
    inserts && (any || (covers("db", &name.database) && covers("collection", &name.collection)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::doc;

    fn status(users: Vec<Bson>, db: &str, action: &str) -> Document {
        doc! { "authInfo": {
            "authenticatedUsers": users,
            "authenticatedUserPrivileges": [{ "resource": { "db": db, "collection": "" }, "actions": ["find", action] }],
        } }
    }

    #[test]
    fn a_missing_right_is_named_and_no_access_control_lacks_nothing() {
        let wanted = [Namespace::parse("a.b").unwrap()];
        let me = || vec![Bson::from(doc! { "user": "me" })];
        assert!(lacks(&status(me(), "a", "insert"), &wanted).is_empty());
        assert!(lacks(&status(me(), "", "insert"), &wanted).is_empty());
        assert!(lacks(&status(Vec::new(), "a", "find"), &wanted).is_empty());
        for status in [status(me(), "a", "update"), status(me(), "c", "insert")] {
            let lacks = lacks(&status, &wanted);
            assert!(
                lacks.len() == 1 && lacks[0].found.contains("a.b") && lacks[0].help.contains("readWrite"),
                "{lacks:?}"
            );
        }
    }
}

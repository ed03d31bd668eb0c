//! Documents as a test sees them. The collections' names come from the modules and are shared by tests: documents
//! without an `_id` of the author are told apart by their source id, which begins with the flow's name.

use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::services::block_on;

/// Every document of `db.collection` as extended JSON, ordered by `_id`.
pub fn documents(url: &str, collection: &str) -> Vec<Value> {
    block_on(find(url, collection, doc! {})).unwrap_or_else(|e| panic!("reading {collection} failed: {e}"))
}

/// Documents whose source id belongs to this flow.
pub fn documents_of(url: &str, collection: &str, flow: &str) -> Vec<Value> {
    let mut documents = documents(url, collection);
    let prefix = format!("{flow}/");
    documents.retain(|d| d["_id"].as_str().is_some_and(|id| id.starts_with(&prefix)));
    documents
}

/// Counts the documents of a collection and drops it.
pub fn take_all(url: &str, database: &str, collection: &str) -> u64 {
    let taken = async {
        let collection = Client::with_uri_str(url).await?.database(database).collection::<Document>(collection);
        let count = collection.count_documents(doc! {}).await?;
        collection.drop().await?;
        mongodb::error::Result::Ok(count)
    };
    block_on(taken).unwrap_or_else(|e| panic!("counting {database}.{collection} failed: {e}"))
}

/// Documents that match a filter, at most 100,000.
pub async fn find(url: &str, collection: &str, filter: Document) -> mongodb::error::Result<Vec<Value>> {
    let (database, collection) = collection.split_once('.').expect("db.collection");
    let client = Client::with_uri_str(url).await?;
    let collection = client.database(database).collection::<Document>(collection);
    // mongo-java-server does not cut its replies at the size that drivers accept.
    let sorted = collection.find(filter).sort(doc! { "_id": 1 }).batch_size(10_000);
    let mut cursor = sorted.await?;
    let mut documents = Vec::new();
    while cursor.advance().await? {
        let document = cursor.deserialize_current()?;
        documents.push(serde_json::to_value(&document).expect("every BSON value has an extended JSON form"));
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_a_flow_are_told_apart() {
        for url in [crate::services::mongodb_url(), crate::services::mongodb_volume_url()] {
            let collection = crate::case::unique("harness");
            let insert = async {
                let client = Client::with_uri_str(&url).await?;
                let documents = [doc! { "_id": "b/1/0/0", "n": 1_i64 }, doc! { "_id": "a/1/0/0" }, doc! { "_id": 5 }];
                client.database("harness").collection(&collection).insert_many(documents).await
            };
            block_on(insert).expect("the server takes documents");
            let name = format!("harness.{collection}");
            assert_eq!(documents(&url, &name).len(), 3);
            assert_eq!(documents_of(&url, &name, "b"), [serde_json::json!({ "_id": "b/1/0/0", "n": 1 })]);
        }
    }
}

//! Listings: order, the past, pages, compaction.

use std::sync::Arc;

use bytes::Bytes;
use pergola_store::{Error, Listing, Op, Query, Store, Txn};

fn keys(listing: &Listing) -> Vec<&str> {
    listing.entries.iter().map(|entry| &*entry.key).collect()
}

async fn put(store: &Arc<dyn Store>, key: &str, value: &str) -> u64 {
    store.put(key, Bytes::copy_from_slice(value.as_bytes())).await.unwrap()
}

pub async fn listing_in_key_order(store: Arc<dyn Store>) {
    let empty = store.range("", None).await.unwrap();
    assert!(empty.entries.is_empty() && empty.revision >= 1);
    for key in ["port/leaf2/1", "port/leaf1/10", "port/leaf1/2", "port", "poru", "host/ü", "host/z"] {
        put(&store, key, key).await;
    }
    let ports = store.range("port/", None).await.unwrap();
    assert_eq!(keys(&ports), ["port/leaf1/10", "port/leaf1/2", "port/leaf2/1"]);
    assert!(ports.entries.iter().all(|e| e.value == e.key.as_bytes()));
    let port = store.range("port", None).await.unwrap();
    assert_eq!(keys(&port), ["port", "port/leaf1/10", "port/leaf1/2", "port/leaf2/1"]);
    assert_eq!(keys(&store.range("host/", None).await.unwrap()), ["host/z", "host/ü"]);
    assert!(store.range("port/leaf3/", None).await.unwrap().entries.is_empty());
    assert_eq!(store.range("", None).await.unwrap().entries.len(), 7);
}

pub async fn the_past_is_kept(store: Arc<dyn Store>) {
    let r1 = put(&store, "a", "1").await;
    let r2 = put(&store, "b", "1").await;
    let r3 = put(&store, "a", "2").await;
    let r4 = store.delete("b", None).await.unwrap();
    let r5 = put(&store, "b", "2").await;
    let txn = Txn::new().then(Op::delete_prefix("")).then(Op::get("a"));
    let r6 = store.txn(txn).await.unwrap().revision;
    let at = |revision| {
        let store = store.clone();
        async move {
            let listing = store.range("", Some(revision)).await.unwrap();
            assert_eq!(listing.revision, revision);
            let text = |b: &Bytes| String::from_utf8_lossy(b).into_owned();
            let rows = listing.entries.iter();
            rows.map(|e| (e.key.to_string(), text(&e.value), e.mod_revision)).collect::<Vec<_>>()
        }
    };
    let row = |key: &str, value: &str, revision| (key.to_owned(), value.to_owned(), revision);
    assert_eq!(at(r1).await, [row("a", "1", r1)]);
    assert_eq!(at(r2).await, [row("a", "1", r1), row("b", "1", r2)]);
    assert_eq!(at(r3).await, [row("a", "2", r3), row("b", "1", r2)]);
    assert_eq!(at(r4).await, [row("a", "2", r3)]);
    assert_eq!(at(r5).await, [row("a", "2", r3), row("b", "2", r5)]);
    assert_eq!(at(r6).await, []);
    let future = store.range("", Some(r6 + 100)).await.unwrap_err();
    let requested = r6 + 100;
    assert!(matches!(future, Error::FutureRevision { requested: r, .. } if r == requested), "{future}");
    assert!(matches!(store.range("", Some(0)).await, Err(Error::Invalid { .. })));
}

pub async fn pages_are_of_one_revision(store: Arc<dyn Store>) {
    for i in 0..25 {
        put(&store, &format!("k/{i:02}"), "old").await;
    }
    put(&store, "l", "outside").await;
    let mut query = Query { prefix: "k/".into(), limit: 10, ..Query::default() };
    let mut seen = Vec::new();
    loop {
        let page = store.page(&query).await.unwrap();
        assert!(page.entries.len() <= 10);
        seen.extend(page.entries);
        // Between two pages everything changes; the listing does not.
        put(&store, "k/00a", "new").await;
        put(&store, "k/12", "new").await;
        store.delete("k/20", None).await.unwrap();
        put(&store, "k/99", "new").await;
        if !page.more {
            break;
        }
        query.at = Some(page.revision);
        query.after = seen.last().map(|e| e.key.clone());
    }
    let wanted: Vec<String> = (0..25).map(|i| format!("k/{i:02}")).collect();
    assert_eq!(seen.iter().map(|e| &*e.key).collect::<Vec<_>>(), wanted);
    assert!(seen.iter().all(|e| &e.value[..] == b"old"));
    assert_eq!(store.range("k/", None).await.unwrap().entries.len(), 26);

    // Exactly one page: nothing more.
    let exact = Query { prefix: "k/0".into(), limit: 11, ..Query::default() };
    let page = store.page(&exact).await.unwrap();
    assert_eq!((page.entries.len(), page.more), (11, false));
    let short = store.page(&Query { limit: 10, ..exact }).await.unwrap();
    assert_eq!((short.entries.len(), short.more), (10, true));
}

pub async fn compaction_ends_the_past(store: Arc<dyn Store>) {
    let r1 = put(&store, "a", "1").await;
    let r2 = put(&store, "a", "2").await;
    let r3 = put(&store, "b", "1").await;
    store.compact(r2).await.unwrap();
    store.compact(r2).await.unwrap();
    let found = store.range("", Some(r1)).await.unwrap_err();
    assert_eq!(found, Error::Compacted { requested: r1, oldest: r2 });
    assert_eq!(keys(&store.range("", Some(r2)).await.unwrap()), ["a"]);
    assert_eq!(keys(&store.range("", Some(r3)).await.unwrap()), ["a", "b"]);
    let future = store.compact(r3 + 50).await.unwrap_err();
    assert!(matches!(future, Error::FutureRevision { .. }), "{future}");
    assert_eq!(store.get("a").await.unwrap().unwrap().mod_revision, r2);
}

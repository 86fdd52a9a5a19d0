//! Reads lists that the server returns in pages.

use super::Error;
use super::rpc::ListRequest;
use super::session::Session;

/// The maximum page size that the server accepts.
const MAX_PAGE_SIZE: u32 = 1000;

/// One page, or the items of several consecutive pages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// The token of the next page; empty on the last page.
    pub(super) next: String,
    /// The number of items on all pages; 0 if the server does not report it.
    pub(super) total: u32,
}

/// Up to `limit` items of a list, fetched page by page.
pub(super) async fn list_all<L: ListRequest>(
    session: &Session,
    limit: u32,
    request: &L,
) -> Result<Page<L::Item>, Error> {
    let fetch = async |size, token| Ok(L::page(session.send(request.at(size, token)).await?));
    gather(limit, fetch).await
}

/// Reads up to `limit` items; `request_page` receives the page size and the page token.
async fn gather<T>(
    limit: u32,
    request_page: impl AsyncFn(i32, String) -> Result<Page<T>, Error>,
) -> Result<Page<T>, Error> {
    let mut all = Page { items: Vec::new(), next: String::new(), total: 0 };
    let mut left = limit;
    loop {
        let size = i32::try_from(left.min(MAX_PAGE_SIZE)).unwrap_or_default();
        let page = request_page(size, all.next).await?;
        left = left.saturating_sub(u32::try_from(page.items.len()).unwrap_or(u32::MAX));
        all.items.extend(page.items);
        (all.next, all.total) = (page.next, page.total);
        if left == 0 || all.next.is_empty() {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gathers numbers below 2,500.
    async fn numbers(limit: u32) -> Page<u32> {
        let page = async |size: i32, from: String| {
            let from = from.parse().unwrap_or(0);
            let end = 2500.min(from + u32::try_from(size).unwrap());
            let next = if end < 2500 { end.to_string() } else { String::new() };
            Ok(Page { items: (from..end).collect(), next, total: 2500 })
        };
        gather(limit, page).await.unwrap()
    }

    #[tokio::test]
    async fn pages_are_requested_until_the_limit() {
        for (limit, count, next) in [
            (1, 1, "1"),
            (1001, 1001, "1001"),
            (1000, 1000, "1000"),
            (1700, 1700, "1700"),
            (u32::MAX, 2500, ""),
        ] {
            let all = numbers(limit).await;
            assert_eq!(all.items, (0..count).collect::<Vec<_>>());
            assert_eq!((all.next.as_str(), all.total), (next, 2500));
        }
    }
}

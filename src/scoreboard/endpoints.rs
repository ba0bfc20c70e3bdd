//! The numbers under which requests are counted: one for each endpoint, and one for paths without an endpoint.

use crate::api::Endpoint;

/// The number of endpoint numbers.
pub const ENDPOINTS: usize = Endpoint::ALL.len() + 1;
/// The name, in metrics, of paths without an endpoint.
const NONE: &str = "none";

/// Returns the number of an endpoint, or of paths without one.
pub fn endpoint_number(endpoint: Option<Endpoint>) -> usize {
    let position = endpoint.and_then(|endpoint| Endpoint::ALL.iter().position(|other| *other == endpoint));
    position.unwrap_or(Endpoint::ALL.len())
}

/// Returns all numbers with their names, in order.
pub fn endpoint_names() -> impl Iterator<Item = (usize, &'static str)> {
    Endpoint::ALL.iter().map(|endpoint| endpoint.name()).chain([NONE]).enumerate()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_counted_under_their_names() {
        let names: Vec<_> = endpoint_names().collect();
        for endpoint in Endpoint::ALL {
            assert!(names.contains(&(endpoint_number(Some(endpoint)), endpoint.name())), "{endpoint:?}");
        }
        assert_eq!(names.last(), Some(&(endpoint_number(None), NONE)));
        assert_eq!(names.len(), ENDPOINTS);
    }
}

//! Questions that carry little or nothing.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

/// A question without particulars, for an answer of type `A`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(bound = "", deny_unknown_fields)]
pub struct Nothing<A> {
    /// Of which answer it is.
    #[serde(skip)]
    pub answer: PhantomData<fn() -> A>,
}

impl<A> Clone for Nothing<A> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<A> Default for Nothing<A> {
    fn default() -> Self {
        Self { answer: PhantomData }
    }
}

/// A question about an address or a prefix, for an answer of type `A`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(bound = "", deny_unknown_fields)]
pub struct Address<A> {
    /// The address or prefix.
    pub address: String,
    /// Of which answer it is.
    #[serde(skip)]
    pub answer: PhantomData<fn() -> A>,
}

impl<A> Address<A> {
    /// About this one.
    #[must_use]
    pub fn of(address: impl Into<String>) -> Self {
        Self { address: address.into(), answer: PhantomData }
    }
}

impl<A> Clone for Address<A> {
    fn clone(&self) -> Self {
        Self::of(self.address.clone())
    }
}

/// `POST /v1/confirm`: enforcing goes on.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Confirm {}

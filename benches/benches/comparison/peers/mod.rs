//! What one could use instead, each as a subject.

pub(crate) mod broadcast;
pub(crate) mod etcd;
pub(crate) mod fjall;
pub(crate) mod opendal;
pub(crate) mod redb;
pub(crate) mod sled;

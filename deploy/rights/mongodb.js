// What a host needs of MongoDB, and nothing else. Run it as an administrator, with another password and your databases:
//   mongosh mongodb://admin@db/admin deploy/rights/mongodb.js
db.getSiblingDB("admin").createUser({
  user: "wasmill",
  pwd: "change-me",
  roles: [
    // The databases that modules write to.
    { role: "readWrite", db: "simpson_db" },
    // Guards of documents that were deleted.
    { role: "readWrite", db: "wasmill" },
  ],
});

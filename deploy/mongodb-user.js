// Run once, when the MongoDB of docker-compose.yml is set up: the host's user may write the collections of its modules and
// keep its guards in the database wasmill, and nothing else.
db.getSiblingDB("admin").createUser({
  user: "wasmill",
  pwd: process.env.WASMILL_PASSWORD,
  roles: [
    { role: "readWrite", db: "simpson_db" },
    { role: "readWrite", db: "wasmill" },
  ],
});

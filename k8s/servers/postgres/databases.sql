-- Each server owns its database and cannot open the other's. The superuser has no password: it comes in through the
-- socket inside the pod alone.
\getenv mlflow_password MLFLOW_PASSWORD
\getenv airflow_password AIRFLOW_PASSWORD

SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY['mlflow', 'airflow']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE mlflow PASSWORD :'mlflow_password';
ALTER ROLE airflow PASSWORD :'airflow_password';

SELECT format('CREATE DATABASE %I OWNER %I', name, name) FROM unnest(ARRAY['mlflow', 'airflow']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
REVOKE ALL ON DATABASE mlflow FROM PUBLIC;
REVOKE ALL ON DATABASE airflow FROM PUBLIC;

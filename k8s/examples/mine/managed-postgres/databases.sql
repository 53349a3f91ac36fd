-- Once, by the administrator of a managed Postgres, who is no superuser there (docs/cluster/kubernetes.md). An owner's role
-- must be the administrator's too before a database can be given to it.
\getenv mlflow_password MLFLOW_PASSWORD
\getenv airflow_password AIRFLOW_PASSWORD

CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';
GRANT mlflow, airflow TO CURRENT_USER;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE airflow OWNER airflow;
REVOKE ALL ON DATABASE mlflow FROM PUBLIC;
REVOKE ALL ON DATABASE airflow FROM PUBLIC;
